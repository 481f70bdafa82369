"""The log files of children: one of limited size for each child, with the previous one beside it."""

import logging
import os
import shutil
from pathlib import Path

from embedfleet.control.host.disk import reason_of

log = logging.getLogger(__name__)

LIMIT_BYTES = 10_000_000
_BLOCK_BYTES = 65_536
_APPEND = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC


class LogFiles:
    """The log files in one folder.

    Args:
        folder: Folder of the files; it is created when a file is written.
        limit_bytes: Size at which a file is trimmed.
    """

    def __init__(self, folder: Path, limit_bytes: int = LIMIT_BYTES) -> None:
        self.folder = folder
        self._limit_bytes = limit_bytes

    def path(self, name: str) -> Path:
        """Return the path of a child's file."""
        return self.folder / f"{name}.log"

    def names(self) -> list[str]:
        """Return the children that have a file.

        Raises:
            PermissionError: This user may not read the folder.
        """
        if not self.folder.is_dir():
            return []
        return sorted(path.stem for path in self.folder.iterdir() if path.suffix == ".log")

    def open(self, name: str) -> int:
        """Return a descriptor that appends to a child's file; the caller closes it.

        If the file cannot be opened, for example on a full disk, the descriptor leads to ``/dev/null``, because a child
        without a log still serves.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self.trim(name)
            return os.open(self.path(name), _APPEND, 0o640)
        except OSError as error:
            log.error("%s is not logged: %s", name, _worded(error, self.path(name)))  # noqa: TRY400
            return os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)

    def add(self, name: str, lines: list[str]) -> None:
        """Append lines to a child's file; they are lost if the disk is full."""
        descriptor = self.open(name)
        try:
            os.write(descriptor, "".join(f"{line}\n" for line in lines).encode())
        except OSError as error:
            log.error("output of %s is lost: %s", name, _worded(error, self.path(name)))  # noqa: TRY400
        finally:
            os.close(descriptor)

    def trim(self, name: str) -> None:
        """Move the content of a file that is over its limit to ``NAME.log.1``, and leave the file empty.

        The content is copied and the file is truncated, because the child holds the file open and appends to it. If the
        disk has no room for the copy, the content is dropped.
        """
        path = self.path(name)
        if path.is_file() and path.stat().st_size > self._limit_bytes:
            try:
                shutil.copyfile(path, _previous(path))
            except OSError as error:
                log.warning("the older content of %s is dropped: %s", path, _worded(error, path))
                _previous(path).unlink(missing_ok=True)
            os.truncate(path, 0)

    def trim_all(self) -> None:
        """Trim every file; an error in one does not keep the others from being trimmed."""
        for name in self.names():
            try:
                self.trim(name)
            except OSError as error:
                log.warning("%s cannot be trimmed: %s", self.path(name), _worded(error, self.path(name)))

    def size(self, name: str) -> int:
        """Return the size of a child's file in bytes; 0 if there is none."""
        return _size(self.path(name))

    def tail(self, name: str, lines: int) -> list[str]:
        """Return the last lines of a child's file and, if it has too few, of the previous one."""
        path = self.path(name)
        found: list[str] = []
        for file in (path, _previous(path)):
            if len(found) < lines:
                found = _tail(file, lines - len(found)) + found
        return found

    def since(self, name: str, place: int) -> list[str]:
        """Return the lines added since a child's file had ``place`` bytes, even if it has been trimmed since."""
        path = self.path(name)
        if _size(path) >= place:
            return _lines(path, place)
        return _lines(_previous(path), place) + _lines(path, 0)


def _previous(path: Path) -> Path:
    return path.with_name(f"{path.name}.1")


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _lines(path: Path, place: int) -> list[str]:
    """Return the lines of a file from an offset on."""
    if not path.is_file():
        return []
    with path.open("rb") as stream:
        stream.seek(place)
        return stream.read().decode("utf-8", "replace").splitlines()


def _tail(path: Path, lines: int) -> list[str]:
    """Return the last lines of a file, read from its end in blocks."""
    data, place = b"", _size(path)
    if not place:
        return []
    with path.open("rb") as stream:
        while place and data.count(b"\n") <= lines:
            size = min(_BLOCK_BYTES, place)
            place -= size
            stream.seek(place)
            data = stream.read(size) + data
    return data.decode("utf-8", "replace").splitlines()[-lines:] if lines > 0 else []


def _worded(error: OSError, path: Path) -> str:
    return f"{path}: {reason_of(error, path.parent)}"
