"""The activity of a process and its descendants, read from ``/proc`` (proc(5))."""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from embedfleet.control.lifecycle.liveness import Activity

_TICKS = os.sysconf("SC_CLK_TCK")
_STOPPED = "T"
_BUSY = frozenset("RD")  # R: runs or waits for a core; D: waits for a disk or network storage
_STATE, _UTIME, _STIME = 0, 11, 12  # fields behind the name, which may contain any character


def activity_of(pid: int, *, container: str = "") -> Activity | None:
    """Return the activity of a process and its descendants; None if there is no such process.

    Args:
        pid: Process id.
        container: Id of the container that the process must be in; empty for any process.
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
        is_busy=any(state in _BUSY for process, _ in seen for state in _thread_states(process)),
    )


def is_stopped(pid: int, *, container: str) -> bool:
    """Whether SIGSTOP has stopped a process of a container, so that it cannot react to SIGTERM."""
    activity = activity_of(pid, container=container)
    return activity is not None and activity.is_stopped


def _tree(pid: int) -> Iterator[Path]:
    """Yield the folders of a process and its descendants, its own first."""
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
    """Return the fields of ``stat`` after the name; none if the process is gone."""
    return _read(place / "stat").rpartition(")")[2].split()


def _bytes_read(process: Path) -> int:
    """Return the bytes read by read(2) and from storage; 0 if this user may not see them."""
    fields = dict(line.split(": ") for line in _read(process / "io").splitlines())
    return int(fields.get("rchar", 0)) + int(fields.get("read_bytes", 0))


def _read(path: Path) -> str:
    """Return the text of a file of ``/proc``; empty if the process is gone, or the file may not be read."""
    try:
        return path.read_text("utf-8", "replace")
    except OSError:
        return ""
