"""Unix sockets whose paths may be of any length, and that are made again when somebody removes them.

A socket's path may have 107 bytes (unix(7)). A longer one is reached through a descriptor of its folder (proc(5),
``/proc/self/fd``), by this process and while that is open; afterwards the socket is where it was asked for.
"""

import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_LONGEST = 107
_CONNECT_S = 5.0


@contextmanager
def reachable(path: str) -> Iterator[str]:
    """A path by which this process can bind or connect to the socket at ``path`` now.

    Raises:
        OSError: its folder is not there.
    """
    if len(os.fsencode(path)) <= _LONGEST:
        yield path
        return
    folder, name = os.path.split(path)
    descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{descriptor}/{name}"
    finally:
        os.close(descriptor)


class UnixSocket:
    """A socket that listens at a path.

    Args:
        path: of any length.
        mode: permissions of who may connect.
    """

    def __init__(self, path: str, mode: int = 0o600) -> None:
        self._path = Path(path)
        self._mode = mode
        self._inode = (0, 0)
        self._owner = os.geteuid()  # of the folder

    def __str__(self) -> str:
        return str(self._path)

    def bind(self) -> socket.socket:
        """A socket that nobody can have opened before it has its mode; what a dead process left is removed.

        Raises:
            OSError: it cannot be bound; ``errno`` says why.
        """
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)  # somebody may have removed it just now
        self._path.unlink(missing_ok=True)
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            with reachable(str(self._path)) as path:
                made.bind(path)
            self._path.chmod(self._mode)  # it does not listen yet
            found = self._path.lstat()
            self._owner = self._path.parent.stat().st_uid
        except BaseException:
            made.close()
            raise
        self._inode = (found.st_dev, found.st_ino)
        return made

    def bind_again(self) -> socket.socket | None:
        """Another one, if the last is gone or something else is in its place; None if there is nothing to mend.

        Raises:
            OSError: it is gone, and another one cannot be bound.
        """
        if self._is_there():
            return None
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        owner = self._path.parent.stat().st_uid
        if owner not in {self._owner, os.geteuid()}:  # in a folder that all may write, somebody else may have made it
            raise PermissionError(f"{self._path} is gone, and its folder is now that of user {owner}")
        return self.bind()

    def remove(self) -> None:
        """Remove it from the file system, unless something else is there now."""
        with suppress(OSError):
            if self._is_same(self._path.lstat()):
                self._path.unlink()

    def _is_there(self) -> bool:
        try:
            found = self._path.lstat()
        except (FileNotFoundError, NotADirectoryError):
            return False
        # Not all file systems keep a file's number, and another process may listen here now: that one is left alone.
        return self._is_same(found) or (stat.S_ISSOCK(found.st_mode) and self._listens())

    def _is_same(self, found: os.stat_result) -> bool:
        return (found.st_dev, found.st_ino) == self._inode

    def _listens(self) -> bool:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe, reachable(str(self._path)) as path:
            probe.settimeout(_CONNECT_S)
            try:
                probe.connect(path)
            except (ConnectionRefusedError, FileNotFoundError):
                return False
            except OSError:  # it is full, or not ours to ask: somebody is there
                return True
        return True
