"""The kernel's table of processes (proc(5)): parents, sessions and listening sockets."""

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_LISTENS = "0A"  # TCP_LISTEN, in /proc/net/tcp


@dataclass(frozen=True, slots=True)
class ProcessRow:
    """A process that has not ended.

    Attributes:
        pid: Process id.
        parent: Process id of its parent.
        session: Process id of its session's leader, which may have ended.
    """

    pid: int
    parent: int
    session: int


def processes() -> Iterator[ProcessRow]:
    """Yield every process that this one can see."""
    for place in Path("/proc").iterdir():
        if not place.name.isdecimal():
            continue
        with suppress(OSError):
            state, parent, _, session, *_ = (place / "stat").read_text().rpartition(")")[2].split()
            if state not in {"Z", "X"}:
                yield ProcessRow(int(place.name), int(parent), int(session))


def end_session(leader: int) -> list[int]:
    """Kill the remaining processes of a session whose leader has ended; return their ids.

    The kernel does not use the leader's id again while the session has processes.
    """
    ended: list[int] = []
    while found := [row.pid for row in processes() if row.session == leader and row.pid not in ended]:
        for pid in found:
            with suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        ended += found
    return ended


def end_children() -> None:
    """Kill every child of this process, and wait until all have ended."""
    for row in processes():
        if row.parent == os.getpid():
            with suppress(ProcessLookupError):
                os.kill(row.pid, signal.SIGKILL)
    with suppress(ChildProcessError):
        while True:
            os.waitpid(-1, 0)


def listens(pid: int, port: int) -> bool:
    """Whether a process has a socket that listens on a port of this machine.

    Raises:
        PermissionError: This user may not see the files of the process.
    """
    wanted = {f"socket:[{inode}]" for inode in _listeners(port)}
    if not wanted:
        return False
    with suppress(FileNotFoundError, ProcessLookupError):
        for file in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(FileNotFoundError):
                if str(file.readlink()) in wanted:
                    return True
    return False


def _listeners(port: int) -> Iterator[str]:
    """Yield the inodes of the sockets that listen on a port."""
    for table in ("/proc/self/net/tcp", "/proc/self/net/tcp6"):
        with suppress(OSError):
            for line in Path(table).read_text().splitlines()[1:]:
                row = line.split()
                if row[3] == _LISTENS and int(row[1].rpartition(":")[2], 16) == port:
                    yield row[9]
