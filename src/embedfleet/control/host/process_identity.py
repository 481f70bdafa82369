"""The identity of a process. A pid alone is not enough: it is reused, and exists in other containers too."""

import os
from pathlib import Path

_STARTED = 19  # field of /proc/PID/stat behind the name (proc(5): starttime, in ticks since the machine started)


def identity_of(pid: int) -> str:
    """Return a text that no other process with this id ever has; empty if the process is gone or hidden."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    fields = stat.rpartition(")")[2].split()
    return f"{_place()} {fields[_STARTED]}" if fields[0] not in {"Z", "X"} else ""


def _place() -> str:
    """Return the id of the machine's present boot and of this process's pid namespace."""
    return f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()} {Path('/proc/self/ns/pid').readlink()}"


def lock_holder(lock: os.stat_result) -> int:
    """Return the id of the process that locks a file by ``flock`` (proc(5), /proc/locks); 0 if unknown.

    Args:
        lock: Status of the file.
    """
    device = f"{os.major(lock.st_dev):02x}:{os.minor(lock.st_dev):02x}:{lock.st_ino}"
    try:
        lines = Path("/proc/locks").read_text().splitlines()
    except OSError:
        return 0
    rows = [line.split() for line in lines if "FLOCK" in line and "->" not in line]
    return next((int(row[4]) for row in rows if row[3] == "WRITE" and row[5] == device and row[4] != "-1"), 0)
