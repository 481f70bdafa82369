"""Folder of the files that a fleet needs only while it runs: admin sockets, and models as its gateways know them.

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
        usual: Its path, if sockets can be made there.

    Attributes:
        path: Its path.
    """

    def __init__(self, usual: Path) -> None:
        self.path = usual
        self._usual = usual
        self._lock = -1

    def socket(self, name: str) -> str:
        """Path of a socket in the folder; it may be longer than the kernel allows, which `http.unix_socket` handles."""
        return str(self.path / name)

    def make(self) -> None:
        """Make the folder, open to its owner alone.

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
            socket: Path of that fleet's admin socket, as its file says; its folder is removed only if embedfleet made
                it.
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
            "%s takes no sockets (%s): they are in %s; see that nothing removes that", self._usual, error, self.path
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
