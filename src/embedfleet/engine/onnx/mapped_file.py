"""A mapped file that we wrote, with checks that it is as written and has not changed since it was opened."""

import os
import weakref
from pathlib import Path

from embedfleet.engine.files.checksum import checksum
from embedfleet.engine.onnx.packed_manifest import FileDigest
from embedfleet.errors import WeightsChanged


class MappedFile:
    """A file that is held open, so that a check for changes takes a single system call.

    The kernel changes a file's modification time before the first byte of a write.

    Args:
        file: File to open; it is mapped after this.

    Raises:
        OSError: The file cannot be opened.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self._descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
        weakref.finalize(self, os.close, self._descriptor)
        self._state = _state(os.fstat(self._descriptor))

    def digest(self) -> FileDigest:
        """Compute the size and digest of the file's content.

        Raises:
            OSError: The file cannot be read.
        """
        size = os.fstat(self._descriptor).st_size
        return FileDigest(size, checksum(self._descriptor, size))

    def fault(self, written: FileDigest) -> str:
        """Describe how the file differs from what was written; empty if it does not.

        Raises:
            OSError: The file cannot be read.
        """
        size = os.fstat(self._descriptor).st_size
        if size != written.size:
            return f"{self.file} has {size} bytes, {written.size} were written"
        if checksum(self._descriptor, size) != written.digest:
            return f"{self.file} is not what was written: its digest differs"
        return ""

    def check(self) -> None:
        """Check that no program has written to the file since it was opened.

        Raises:
            WeightsChanged: The file has changed.
        """
        if _state(os.fstat(self._descriptor)) != self._state:
            raise WeightsChanged(self.file)

    def check_mapped(self) -> None:
        """Check that the file that was just mapped by this name is the open one, and that it is unchanged.

        Raises:
            WeightsChanged: The file has changed.
            ValueError: Another file has its name.
            OSError: No file has its name.
        """
        if not os.path.samestat(self.file.stat(), os.fstat(self._descriptor)):
            raise ValueError(f"{self.file} was replaced while it was checked")
        self.check()


def _state(found: os.stat_result) -> tuple[int, int]:
    """Size and modification time; the change time would also change with a new or removed link."""
    return found.st_size, found.st_mtime_ns
