"""Folder of the files that a fleet needs only while it runs: admin sockets, and the models that gateways record.

The folder is in the state folder, where no other program cleans up. If that file system has no sockets, the folder is
in the temporary folder, and locked: systemd-tmpfiles spares locked folders.
"""

import fcntl
import logging
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

from embedfleet.control.host.disk import is_full
from embedfleet.http.unix_socket import UnixSocket

log = logging.getLogger(__name__)

_PREFIX = "embedfleet-"


class RunFolder:
    """The run folder of a fleet.

    Args:
        usual: Path of the folder, unless no socket can be made there.

    Attributes:
        path: Path of the folder.
    """

    def __init__(self, usual: Path) -> None:
        self.path = usual
        self._usual = usual
        self._lock = -1

    def socket(self, name: str) -> str:
        """Return the path of a socket in the folder; `http.unix_socket` handles one that is too long for the kernel."""
        return str(self.path / name)

    def make(self) -> None:
        """Create the folder, accessible only to its owner.

        Raises:
            OSError: The disk is full, or the folder cannot be written.
        """
        self._usual.mkdir(mode=0o700)
        try:
            _try_socket(self._usual)
        except OSError as error:
            self._usual.rmdir()
            if is_full(error):
                raise
            self._make_elsewhere(error)

    def clear(self, socket: str) -> None:
        """Remove the folder of a fleet that was killed.

        Args:
            socket: Path of that fleet's admin socket, from its file; the socket's folder is removed only if embedfleet
                made it.
        """
        _remove(self._usual)
        folder = Path(socket).parent
        with suppress(OSError):
            if folder.name.startswith(_PREFIX) and folder.lstat().st_uid == os.geteuid():
                _remove(folder)

    def remove(self) -> None:
        """Remove the folder with everything in it."""
        _remove(self.path)
        self.path = self._usual
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _make_elsewhere(self, error: OSError) -> None:
        self.path = Path(tempfile.mkdtemp(prefix=_PREFIX))
        self._lock = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        log.warning(
            "no socket can be made in %s (%s): the sockets are in %s, which nothing must remove",
            self._usual,
            error,
            self.path,
        )


def _try_socket(folder: Path) -> None:
    made = UnixSocket(str(folder / "try.sock"))
    try:
        made.bind().close()
    finally:
        made.remove()


def _remove(folder: Path) -> None:
    """Remove a folder with everything in it, or a link or a file that stands in its place."""
    if folder.is_symlink() or folder.is_file():
        folder.unlink()
    else:
        shutil.rmtree(folder, ignore_errors=True)
