"""The folder of what a fleet needs while it runs: control sockets, and what its gateways know of their models.

It is in the state folder, where nobody else cleans up. On a file system without sockets it is in the temporary folder,
and locked, which systemd-tmpfiles respects.
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
    """See the module.

    Args:
        usual: where it is if sockets can be made there.

    Attributes:
        path: where it is.
    """

    def __init__(self, usual: Path) -> None:
        self.path = usual
        self._usual = usual
        self._lock = -1

    def socket(self, name: str) -> str:
        """The path of a socket in it, which may be longer than the kernel takes: `http.unix_socket` knows how."""
        return str(self.path / name)

    def make(self) -> None:
        """Make it, for its owner alone.

        Raises:
            OSError: there is no room for it, or it cannot be written.
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
        """Remove what a fleet that was killed left.

        Args:
            socket: where its admin API was, by its own word: only a folder of our making is removed.
        """
        _remove(self._usual)
        folder = Path(socket).parent
        with suppress(OSError):
            if folder.name.startswith(_PREFIX) and folder.lstat().st_uid == os.geteuid():
                _remove(folder)

    def remove(self) -> None:
        """Remove it with all that is in it."""
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
    """A folder with all that is in it; a link or a file in its place is no folder of ours, but in our way."""
    if folder.is_symlink() or folder.is_file():
        folder.unlink()
    else:
        shutil.rmtree(folder, ignore_errors=True)
