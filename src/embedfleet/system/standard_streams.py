"""stdout and stderr that nobody ever waits for: what is said is put down, and a thread writes it.

Who reads a log may stop: a log driver that hangs, a terminal after Ctrl-S, a disk. A write then blocks, and an event
loop that writes would serve nobody any more. So what finds no room is dropped and counted, and said to be missing once
somebody reads again.

Descriptors that do not block would not do: that flag belongs to the open file, which other processes share, whose
writes would then fail; and a file on a disk that hangs blocks all the same. The price of the thread is that a process
that is killed, or aborts, loses what it said in its last moment.
"""

import io
import os
import select
import sys
import threading
import time
from collections.abc import Callable
from typing import Final, TextIO

_MOST_BYTES: Final = 1_000_000
# From one write to the next: a thread that wakes for each line takes longer to wake than a line takes to be written.
_PAUSE_S: Final = 0.01
_FLUSH_S = 1.0  # what a process that ends spends on a reader that has stopped


class Outlet(io.RawIOBase):
    """A descriptor, and what is to be written to it.

    Args:
        descriptor: may block.
        missing: words it that so many lines were dropped.
        most_bytes: that may wait.

    Attributes:
        dropped: lines, ever.
    """

    def __init__(self, descriptor: int, missing: Callable[[int], str], most_bytes: int = _MOST_BYTES) -> None:
        self.dropped = 0
        self._descriptor = descriptor
        self._missing = missing
        self._most_bytes = most_bytes
        self._lock = threading.RLock()  # a finaliser that has something to say may run while we hold it
        self._changed = threading.Condition(self._lock)
        self._waiting: list[bytes] = []
        self._held = 0  # bytes that wait or are being written
        self._unsaid = 0  # lines that were dropped since that was last said
        self._is_idle = True
        self._is_read = True  # the last write succeeded
        self._writer: threading.Thread | None = None

    def write(self, data: "bytes | memoryview") -> int:  # type: ignore[override]  # no other buffers come from text
        """Take it, or drop it if too much waits; returns at once."""
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
        """Wait until all is written, but no longer than ``timeout_s`` seconds."""
        with self._lock:
            self._changed.wait_for(lambda: self._is_idle, timeout_s)

    def writable(self) -> bool:
        """It is."""
        return True

    def fileno(self) -> int:
        """The descriptor; who writes to it himself may have to wait."""
        return self._descriptor

    def isatty(self) -> bool:
        """Whether a person reads it."""
        return os.isatty(self._descriptor)

    def _has_writer(self) -> bool:
        """Whether the thread runs; it is started when there is something to write, so after any fork."""
        if self._writer is None:
            writer = threading.Thread(target=self._write_on, name="outlet", daemon=True)
            try:
                writer.start()
            except RuntimeError:  # no memory for one, or the interpreter is about to end
                return False
            self._writer = writer
        return True

    def _drop(self, lines: int) -> None:
        self.dropped += lines
        self._unsaid += lines

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
        """What waits, and how much was dropped after it, once there is anything."""
        with self._lock:
            while not self._waiting and not (self._unsaid and self._is_read):
                self._is_idle = True
                self._changed.notify_all()
                self._changed.wait()
            if self._unsaid:
                said = self._missing(self._unsaid).encode("utf-8", "backslashreplace")
                self._waiting.append(said)
                self._held += len(said)
                self._unsaid = 0
            data = b"".join(self._waiting)
            self._waiting.clear()
            return data


def unblock(stream: TextIO, missing: Callable[[int], str]) -> TextIO:
    """A stream in the place of stdout or stderr, with what it has yet to write in an `Outlet`."""
    outlet = Outlet(stream.fileno(), missing)
    return io.TextIOWrapper(outlet, stream.encoding, "backslashreplace", line_buffering=True)  # type: ignore[type-var]


def outlets() -> list[Outlet]:
    """Those of this process."""
    buffers = [getattr(stream, "buffer", None) for stream in (sys.stdout, sys.stderr)]
    return [buffer for buffer in buffers if isinstance(buffer, Outlet)]


def _lines(data: bytes) -> int:
    return max(1, data.count(b"\n"))


def _write(descriptor: int, data: bytes) -> bool:
    """Write all of it, however long that takes; False if a full disk, or a reader that is gone, takes it not."""
    left = memoryview(data)
    while left:
        try:
            left = left[os.write(descriptor, left) :]
        except BlockingIOError:  # somebody else had the open file not block
            select.select([], [descriptor], [])
        except OSError:
            return False
    return True
