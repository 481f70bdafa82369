"""A file of ours that is mapped: whether it is what was written, and whether somebody has written to it since."""

import os
import weakref
from pathlib import Path

from embedfleet.engine.files.checksum import checksum
from embedfleet.engine.onnx.stamp import FileMark
from embedfleet.errors import WeightsChanged


class WatchedFile:
    """A file that is held open, to be looked at in a microsecond.

    Whoever writes to it changes its time before its first byte.

    Args:
        file: of which a mapping is made after this.

    Raises:
        OSError: it cannot be opened.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self._descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
        weakref.finalize(self, os.close, self._descriptor)
        self._state = _state(os.fstat(self._descriptor))

    def mark(self) -> FileMark:
        """What is in it.

        Raises:
            OSError: it cannot be read.
        """
        size = os.fstat(self._descriptor).st_size
        return FileMark(size, checksum(self._descriptor, size))

    def fault(self, mark: FileMark) -> str:
        """In which way it is not what was written, in words; empty if it is.

        Raises:
            OSError: it cannot be read.
        """
        size = os.fstat(self._descriptor).st_size
        if size != mark.size:
            return f"{self.file} has {size} bytes, {mark.size} were written"
        if checksum(self._descriptor, size) != mark.digest:
            return f"{self.file} is not what was written: its digest is another"
        return ""

    def check(self) -> None:
        """See that it was not written to since it was opened.

        Raises:
            WeightsChanged: it was.
        """
        if _state(os.fstat(self._descriptor)) != self._state:
            raise WeightsChanged(self.file)

    def check_mapped(self) -> None:
        """See that what was just mapped by its name is this file, unchanged.

        Raises:
            WeightsChanged: it was written to.
            ValueError: another file has its name.
            OSError: none has.
        """
        if not os.path.samestat(self.file.stat(), os.fstat(self._descriptor)):
            raise ValueError(f"{self.file} was replaced while it was looked at")
        self.check()


def _state(found: os.stat_result) -> tuple[int, int]:
    """Not the time of its change, which a new link or its removal moves too."""
    return found.st_size, found.st_mtime_ns
