"""Unix sockets with paths of any length, which are bound again if they are removed.

The kernel takes paths of up to 107 bytes (unix(7)). This module reaches a longer path through a descriptor of its
folder (``/proc/self/fd``, proc(5)), which only this process can use, and only while the descriptor is open.
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
    """Provide a short path by which this process can bind or connect to the socket at ``path``.

    Raises:
        OSError: The folder of ``path`` does not exist.
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
    """A listening Unix socket at a path.

    Args:
        path: Path of any length.
        mode: Permissions; write permission allows to connect.
    """

    def __init__(self, path: str, mode: int = 0o600) -> None:
        self._path = Path(path)
        self._mode = mode
        self._inode = (0, 0)
        self._owner = os.geteuid()  # owner of the folder

    def __str__(self) -> str:
        return str(self._path)

    def bind(self) -> socket.socket:
        """Bind a new socket at the path, in place of one that a dead process left.

        The permissions are set before it listens, so that nobody can connect earlier.

        Raises:
            OSError: The path cannot be bound; ``errno`` says why.
        """
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)  # the folder may have been removed
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
        """Bind a new socket if the last one is gone or replaced; return None if it is still there.

        Raises:
            OSError: The socket is gone and no new one can be bound.
        """
        if self._is_there():
            return None
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        owner = self._path.parent.stat().st_uid
        if owner not in {self._owner, os.geteuid()}:  # in a world-writable folder, another user may have made it
            raise PermissionError(f"{self._path} is gone, and its folder now belongs to user {owner}")
        return self.bind()

    def remove(self) -> None:
        """Remove the socket from the file system, unless another file is in its place."""
        with suppress(OSError):
            if self._is_same(self._path.lstat()):
                self._path.unlink()

    def _is_there(self) -> bool:
        try:
            found = self._path.lstat()
        except (FileNotFoundError, NotADirectoryError):
            return False
        # Not all file systems have stable inode numbers. If another process listens here now, it is left alone.
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
            except OSError:  # its queue is full, or permission is missing: something listens there
                return True
        return True
