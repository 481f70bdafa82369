"""The machine that a fleet runs on: GPUs, processes, disks, log files and systemd."""
