"""The children's log files: one each, bounded, the one before kept beside it."""

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
    """Log files in one folder.

    Args:
        folder: made when something is written to it.
        limit_bytes: of one file.
    """

    def __init__(self, folder: Path, limit_bytes: int = LIMIT_BYTES) -> None:
        self.folder = folder
        self._limit_bytes = limit_bytes

    def path(self, name: str) -> Path:
        """The file of a child."""
        return self.folder / f"{name}.log"

    def names(self) -> list[str]:
        """Children that have a file.

        Raises:
            PermissionError: this user may not look.
        """
        if not self.folder.is_dir():
            return []
        return sorted(path.stem for path in self.folder.iterdir() if path.suffix == ".log")

    def open(self, name: str) -> int:
        """A descriptor that appends to a child's file; the caller closes it.

        Where it cannot be opened, as on a full disk, it leads nowhere: a child that is not heard serves all the same.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self.trim(name)
            return os.open(self.path(name), _APPEND, 0o640)
        except OSError as error:
            log.error("nothing of %s is logged: %s", name, _worded(error, self.path(name)))  # noqa: TRY400
            return os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)

    def add(self, name: str, lines: list[str]) -> None:
        """Put lines that a child said elsewhere into its file; what finds no room there is lost."""
        descriptor = self.open(name)
        try:
            os.write(descriptor, "".join(f"{line}\n" for line in lines).encode())
        except OSError as error:
            log.error("what %s said is lost: %s", name, _worded(error, self.path(name)))  # noqa: TRY400
        finally:
            os.close(descriptor)

    def trim(self, name: str) -> None:
        """If a file is over its limit, move its content to ``NAME.log.1`` and go on with an empty one.

        The content is copied and the file truncated, for the child holds it open and goes on appending. Where there is
        no room for the copy, the content is dropped: the room is needed.
        """
        path = self.path(name)
        if path.is_file() and path.stat().st_size > self._limit_bytes:
            try:
                shutil.copyfile(path, _former(path))
            except OSError as error:
                log.warning("the older half of %s is dropped: %s", path, _worded(error, path))
                _former(path).unlink(missing_ok=True)
            os.truncate(path, 0)

    def trim_all(self) -> None:
        """Each of them, whatever becomes of another."""
        for name in self.names():
            try:
                self.trim(name)
            except OSError as error:
                log.warning("%s cannot be trimmed: %s", self.path(name), _worded(error, self.path(name)))

    def size(self, name: str) -> int:
        """Bytes of a child's file; 0 if there is none."""
        return _size(self.path(name))

    def tail(self, name: str, lines: int) -> list[str]:
        """The last lines of a child's file, and where it has fewer, of the one before it."""
        path = self.path(name)
        found: list[str] = []
        for file in (path, _former(path)):
            if len(found) < lines:
                found = _tail(file, lines - len(found)) + found
        return found

    def since(self, name: str, place: int) -> list[str]:
        """The lines added since a child's file was so many bytes long, though it may have been trimmed by now."""
        path = self.path(name)
        if _size(path) >= place:
            return _lines(path, place)
        return _lines(_former(path), place) + _lines(path, 0)


def _former(path: Path) -> Path:
    return path.with_name(f"{path.name}.1")


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _lines(path: Path, place: int) -> list[str]:
    """What is in a file from a place on."""
    if not path.is_file():
        return []
    with path.open("rb") as stream:
        stream.seek(place)
        return stream.read().decode("utf-8", "replace").splitlines()


def _tail(path: Path, lines: int) -> list[str]:
    """The last lines of a file, read from its end: as much of it as it takes."""
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
