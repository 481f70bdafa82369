"""What the kernel says of a process and of all that come from it (proc(5)); no more than reads of ``/proc``."""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from embedfleet.control.lifecycle.liveness import Activity

_TICKS = os.sysconf("SC_CLK_TCK")
_STOPPED = "T"
_WANTS = frozenset("RD")  # runs or waits for a core; waits for a disk, or for storage that poses as one
_STATE, _UTIME, _STIME = 0, 11, 12  # behind the name, which may hold anything


def activity_of(pid: int, *, container: str = "") -> Activity | None:
    """What a process and its descendants have done; None if there is no such process.

    Args:
        pid: of the process.
        container: id of the container that it must be in; empty for any process.
    """
    if container and container not in _read(Path(f"/proc/{pid}/cgroup")):
        return None
    seen = [(process, stat) for process in _tree(pid) if (stat := _stat(process))]
    if not seen or seen[0][1][_STATE] == "Z":
        return None
    return Activity(
        cpu_s=sum(int(stat[_UTIME]) + int(stat[_STIME]) for _, stat in seen) / _TICKS,
        bytes_read=sum(_bytes_read(process) for process, _ in seen),
        is_stopped=any(stat[_STATE] == _STOPPED for _, stat in seen),
        wants=any(state in _WANTS for process, _ in seen for state in _thread_states(process)),
    )


def is_stopped(pid: int, *, container: str) -> bool:
    """Whether a process of a container is stopped by a signal: it would not hear that it is to end."""
    activity = activity_of(pid, container=container)
    return activity is not None and activity.is_stopped


def _tree(pid: int) -> Iterator[Path]:
    """A process and its descendants, itself first."""
    waiting = [pid]
    while waiting:
        process = Path(f"/proc/{waiting.pop()}")
        yield process
        for thread in _threads(process):
            waiting += map(int, _read(thread / "children").split())


def _threads(process: Path) -> list[Path]:
    with suppress(OSError):
        return list((process / "task").iterdir())
    return []


def _thread_states(process: Path) -> Iterator[str]:
    for thread in _threads(process):
        if stat := _stat(thread):
            yield stat[_STATE]


def _stat(place: Path) -> list[str]:
    """The fields of a ``stat`` behind the name; none if it is gone."""
    return _read(place / "stat").rpartition(")")[2].split()


def _bytes_read(process: Path) -> int:
    """By read(2), from files or from storage; 0 where we may not know."""
    fields = dict(line.split(": ") for line in _read(process / "io").splitlines())
    return int(fields.get("rchar", 0)) + int(fields.get("read_bytes", 0))


def _read(path: Path) -> str:
    """A file of ``/proc``; empty if the process is gone, or is not ours to look at."""
    try:
        return path.read_text("utf-8", "replace")
    except OSError:
        return ""
