"""The machine below the fleet: GPUs, processes, disks, log files."""
