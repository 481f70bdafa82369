"""The client side of a connection in memory: an event loop that turns on request, and a transport like asyncio's."""

import heapq
from collections import deque
from collections.abc import Callable
from itertools import count

HIGH_WATER = 65_536
LOW_WATER = HIGH_WATER // 4


class Turns:
    """An event loop that turns only on request."""

    def __init__(self) -> None:
        self.now = 1000.0
        self._soon: deque[tuple[Callable, tuple]] = deque()
        self._later: list[tuple[float, int, Callable, tuple]] = []
        self._numbers = count()

    def time(self) -> float:
        return self.now

    def call_soon(self, call, *arguments) -> None:
        self._soon.append((call, arguments))

    def call_later(self, delay, call, *arguments) -> None:
        heapq.heappush(self._later, (self.now + delay, next(self._numbers), call, arguments))

    def turn(self) -> bool:
        """Turn once, and return whether there was anything to do."""
        ready, self._soon = self._soon, deque()
        while self._later and self._later[0][0] <= self.now:
            ready.append(heapq.heappop(self._later)[2:])
        for call, arguments in ready:
            call(*arguments)
        return bool(ready)

    def run(self) -> bool:
        """Turn until nothing is left to do, and return whether there was anything."""
        turned = False
        while self.turn():
            turned = True
        return turned


class Wire:
    """A transport between a connection and a client that sends, reads, pauses and leaves."""

    def __init__(self, loop: Turns, protocol) -> None:
        self.received = bytearray()  # by the client
        self.ended = False  # whether the server has ended its side
        self.lost = False
        self.most_written = 0  # most bytes that the client had not read, at any time
        self._loop, self._protocol = loop, protocol
        self._out = bytearray()
        self._in: deque[bytes | None] = deque()
        self._reading, self._closing, self._write_paused, self._eof = True, False, False, False
        protocol.connection_made(self)

    # the client

    @property
    def unread(self) -> int:
        """Bytes that the client has not read yet."""
        return len(self._out)

    def send(self, data: bytes | None) -> None:
        """Send bytes as the client; None ends its side."""
        self._in.append(data)
        self._deliver()

    def read(self, most: int = 1 << 30) -> None:
        self.received += self._out[:most]
        del self._out[:most]
        self._drained()

    def leave(self) -> None:
        self._lose()

    # the server

    def write(self, data: bytes) -> None:
        assert not self._eof, "write() after write_eof()"
        if self._closing:
            return
        self._out += data
        self.most_written = max(self.most_written, len(self._out))
        if len(self._out) > HIGH_WATER and not self._write_paused:
            self._write_paused = True
            self._protocol.pause_writing()

    def write_eof(self) -> None:
        self._eof = True
        self._drained()

    def can_write_eof(self) -> bool:
        return True

    def pause_reading(self) -> None:
        self._reading = False

    def resume_reading(self) -> None:
        self._reading = True
        self._loop.call_soon(self._deliver)

    def close(self) -> None:
        self._closing = True
        self._drained()

    def abort(self) -> None:
        self._closing = True
        self._loop.call_soon(self._lose)

    def is_closing(self) -> bool:
        return self._closing

    def get_write_buffer_size(self) -> int:
        return len(self._out)

    def get_extra_info(self, name: str) -> None:
        return None

    def _deliver(self) -> None:
        while self._in and self._reading and not self._closing:
            data = self._in.popleft()
            if data is not None:
                self._protocol.data_received(data)
            elif not self._protocol.eof_received():
                self.close()

    def _drained(self) -> None:
        if self._write_paused and len(self._out) <= LOW_WATER and not self.lost:
            self._write_paused = False
            self._protocol.resume_writing()
        if not self._out:
            self.ended = self.ended or self._eof or self._closing
            if self._closing and not self.lost:
                self._loop.call_soon(self._lose)

    def _lose(self) -> None:
        if not self.lost:
            self.lost = self._closing = True
            protocol, self._protocol = self._protocol, None
            protocol.connection_lost(None)
