"""Kept connections of the generator: one request at a time on each, its bytes out, the whole reply back."""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import httptools

CONNECTIONS = 128


@dataclass(frozen=True, slots=True)
class Answer:
    """A reply; status 0 if none came."""

    status: int
    body: bytes = b""
    retry_after: str = ""


NONE = Answer(0)
Taken = Callable[[Answer], None]


class Wire(asyncio.Protocol):
    """One connection."""

    def __init__(self, wires: "Wires") -> None:
        self._wires = wires
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._taken: Taken | None = None
        self._body: list[bytes] = []
        self._retry_after = ""

    @property
    def usable(self) -> bool:
        """Whether a request can be sent."""
        return self._taken is None and self._transport is not None and not self._transport.is_closing()

    def send(self, data: bytes, taken: Taken) -> None:
        """One request; ``taken`` is called once."""
        assert self._transport is not None
        self._taken = taken
        self._transport.write(data)

    def close(self) -> None:
        """Drop it."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ready."""
        self._transport = transport  # type: ignore[assignment] # uvloop's are no subclass

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - no answer is no answer
        """The other side, or we, ended it."""
        self._transport = None
        self._wires.lost(self)
        self._finish(NONE)

    def data_received(self, data: bytes) -> None:
        """Bytes of a reply."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.close()

    def on_header(self, name: bytes, value: bytes) -> None:
        """One field."""
        if name.lower() == b"retry-after":
            self._retry_after = value.decode("latin-1")

    def on_body(self, data: bytes) -> None:
        """Some of the body."""
        self._body.append(data)

    def on_message_complete(self) -> None:
        """The reply is whole."""
        status = self._parser.get_status_code()
        if status < 200:
            return
        answer = Answer(status, b"".join(self._body), self._retry_after)
        self._body, self._retry_after = [], ""
        if self._parser.should_keep_alive():
            self._wires.free(self)
        else:
            self.close()
        self._finish(answer)

    def _finish(self, answer: Answer) -> None:
        taken, self._taken = self._taken, None
        if taken is not None:
            taken(answer)


class Wires:
    """All connections to one address; one more is made when all are in use."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._loop = asyncio.get_running_loop()
        self._free: deque[Wire] = deque()
        self._all: set[Wire] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self, count: int = CONNECTIONS) -> None:
        """Make so many beforehand.

        Raises:
            OSError: nobody listens there.
        """
        for _ in range(count):
            self._free.append(await self._connect())

    def send(self, data: bytes, taken: Taken) -> None:
        """One request, on the connection that has rested longest."""
        while self._free:
            wire = self._free.popleft()
            if wire.usable:
                wire.send(data, taken)
                return
        task = self._loop.create_task(self._send_on_new(data, taken))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def free(self, wire: Wire) -> None:
        """Its reply is whole."""
        self._free.append(wire)

    def lost(self, wire: Wire) -> None:
        """It ended."""
        self._all.discard(wire)

    def close(self) -> None:
        """Drop all."""
        for task in self._tasks:
            task.cancel()
        for wire in list(self._all):
            wire.close()

    async def _connect(self) -> Wire:
        _, wire = await self._loop.create_connection(lambda: Wire(self), "127.0.0.1", self._port)
        self._all.add(wire)
        return wire

    async def _send_on_new(self, data: bytes, taken: Taken) -> None:
        try:
            wire = await self._connect()
        except OSError:
            taken(NONE)
        else:
            wire.send(data, taken)
