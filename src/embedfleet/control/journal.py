"""The children's log files: one each, bounded, the one before kept beside it."""

import os
import shutil
from pathlib import Path

LIMIT_BYTES = 10_000_000


class Journal:
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
        """Children that have a file."""
        return sorted(path.stem for path in self.folder.glob("*.log"))

    def open(self, name: str) -> int:
        """A descriptor that appends to a child's file; the caller closes it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.trim(name)
        return os.open(self.path(name), os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)

    def add(self, name: str, lines: list[str]) -> None:
        """Put lines that a child said elsewhere into its file."""
        descriptor = self.open(name)
        try:
            os.write(descriptor, "".join(f"{line}\n" for line in lines).encode())
        finally:
            os.close(descriptor)

    def trim(self, name: str) -> None:
        """If a file is over its limit, move its content to ``NAME.log.1`` and go on with an empty one.

        The content is copied and the file truncated, for the child holds it open and goes on appending.
        """
        path = self.path(name)
        if path.is_file() and path.stat().st_size > self._limit_bytes:
            shutil.copyfile(path, path.with_suffix(".log.1"))
            os.truncate(path, 0)

    def trim_all(self) -> None:
        """Each of them."""
        for name in self.names():
            self.trim(name)

    def tail(self, name: str, lines: int) -> list[str]:
        """The last lines of a child's file."""
        path = self.path(name)
        if not path.is_file():
            return []
        with path.open("rb") as stream:
            stream.seek(max(0, path.stat().st_size - 64_000))
            return stream.read().decode("utf-8", "replace").splitlines()[-lines:]
