"""stdout and stderr that never block: writes go into a buffer, which a thread writes out.

The reader of a log may stop: a log driver may hang, or a terminal after Ctrl-S, or a disk. Then a write blocks, and an
event loop that blocks serves no client. So lines are dropped and counted while the buffer is full, and once the reader
is back, a line tells how many are missing.

Non-blocking descriptors are no solution: the flag belongs to the open file, which other processes share, so that their
writes would fail; and a file on a disk that hangs blocks anyway. The thread has a price: a process that is killed or
aborts loses its last lines.
"""

import io
import os
import select
import sys
import threading
import time
from collections.abc import Callable
from typing import Final, TextIO

from typing_extensions import override

_MOST_BYTES: Final = 1_000_000
# Time between two writes, because waking the thread for each line would take longer than writing the line.
_PAUSE_S: Final = 0.01
_FLUSH_S = 1.0  # longest wait of an ending process for a reader that has stopped


class BufferedDescriptor(io.RawIOBase):
    """A raw stream whose writes never block: it buffers them, and a thread writes them to a descriptor.

    Args:
        descriptor: File descriptor; its writes may block.
        missing: Function that makes the line about a number of dropped lines.
        most_bytes: Maximum size of the buffer.

    Attributes:
        dropped: Number of lines dropped so far.
    """

    def __init__(self, descriptor: int, missing: Callable[[int], str], most_bytes: int = _MOST_BYTES) -> None:
        self.dropped = 0
        self._descriptor = descriptor
        self._missing = missing
        self._most_bytes = most_bytes
        self._lock = threading.RLock()  # a finaliser that logs may run while this thread holds the lock
        self._changed = threading.Condition(self._lock)
        self._waiting: list[bytes] = []
        self._held = 0  # bytes that wait or are being written
        self._unreported = 0  # dropped lines that no line has reported yet
        self._is_idle = True
        self._is_read = True  # whether the last write succeeded
        self._writer: threading.Thread | None = None

    @override
    def write(self, data: "bytes | memoryview") -> int:  # type: ignore[override]  # text streams pass only these
        """Buffer data, or drop it if the buffer is full; return at once."""
        data = bytes(data)
        with self._lock:
            if (self._held and self._held + len(data) > self._most_bytes) or not self._has_writer():
                self._drop(_lines(data))
            else:
                self._waiting.append(data)
                self._held += len(data)
                if self._is_idle:
                    self._is_idle = False
                    self._changed.notify_all()
        return len(data)

    def drain(self, timeout_s: float = _FLUSH_S) -> None:
        """Wait until the buffer is written, for at most ``timeout_s`` seconds."""
        with self._lock:
            self._changed.wait_for(lambda: self._is_idle, timeout_s)

    @override
    def writable(self) -> bool:
        return True

    @override
    def fileno(self) -> int:
        """File descriptor, on which direct writes may block."""
        return self._descriptor

    @override
    def isatty(self) -> bool:
        return os.isatty(self._descriptor)

    def _has_writer(self) -> bool:
        """Whether the thread runs; the first write starts it, so that a process forked before that starts its own."""
        if self._writer is None:
            writer = threading.Thread(target=self._write_on, name="standard-stream", daemon=True)
            try:
                writer.start()
            except RuntimeError:  # no memory for a thread, or the interpreter is about to end
                return False
            self._writer = writer
        return True

    def _drop(self, lines: int) -> None:
        self.dropped += lines
        self._unreported += lines

    def _write_on(self) -> None:
        while True:
            data = self._take()
            is_written = _write(self._descriptor, data)
            with self._lock:
                self._held -= len(data)
                self._is_read = is_written
                if not is_written:
                    self._drop(_lines(data))
            time.sleep(_PAUSE_S)

    def _take(self) -> bytes:
        """Wait for data, and take all of it, followed by a line about dropped lines."""
        with self._lock:
            while not self._waiting and not (self._unreported and self._is_read):
                self._is_idle = True
                self._changed.notify_all()
                self._changed.wait()
            if self._unreported:
                said = self._missing(self._unreported).encode("utf-8", "backslashreplace")
                self._waiting.append(said)
                self._held += len(said)
                self._unreported = 0
            data = b"".join(self._waiting)
            self._waiting.clear()
            return data


def unblock(stream: TextIO, missing: Callable[[int], str]) -> TextIO:
    """Make a text stream that replaces stdout or stderr and never blocks."""
    buffer = BufferedDescriptor(stream.fileno(), missing)
    return io.TextIOWrapper(buffer, stream.encoding, "backslashreplace", line_buffering=True)  # type: ignore[type-var]


def buffered_streams() -> list[BufferedDescriptor]:
    """List the buffers behind this process's stdout and stderr that `unblock` made."""
    buffers = [getattr(stream, "buffer", None) for stream in (sys.stdout, sys.stderr)]
    return [buffer for buffer in buffers if isinstance(buffer, BufferedDescriptor)]


def _lines(data: bytes) -> int:
    return max(1, data.count(b"\n"))


def _write(descriptor: int, data: bytes) -> bool:
    """Write all data, however long it takes; return False if the disk is full or the reader is gone."""
    left = memoryview(data)
    while left:
        try:
            left = left[os.write(descriptor, left) :]
        except BlockingIOError:  # another process has made the shared open file non-blocking
            select.select([], [descriptor], [])
        except OSError:
            return False
    return True
