"""Kept-alive connections of the load generator, with one request at a time on each."""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import httptools
from typing_extensions import override

CONNECTIONS = 128


@dataclass(frozen=True, slots=True)
class Answer:
    """A reply, with status 0 if none came."""

    status: int
    body: bytes = b""
    retry_after: str = ""


NO_ANSWER = Answer(0)
OnAnswer = Callable[[Answer], None]


class LoadConnection(asyncio.Protocol):
    """One connection to the server under load."""

    def __init__(self, connections: "LoadConnections") -> None:
        self._connections = connections
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._on_answer: OnAnswer | None = None
        self._body: list[bytes] = []
        self._retry_after = ""

    @property
    def is_usable(self) -> bool:
        """Whether a request can be sent now."""
        return self._on_answer is None and self._transport is not None and not self._transport.is_closing()

    def send(self, request: bytes, on_answer: OnAnswer) -> None:
        """Send a request; ``on_answer`` is called once."""
        assert self._transport is not None
        self._on_answer = on_answer
        self._transport.write(request)

    def close(self) -> None:
        """Abort the connection."""
        if self._transport is not None:
            self._transport.abort()

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment] # uvloop's transports are not subclasses

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._connections.remove(self)
        self._finish(NO_ANSWER)

    @override
    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.close()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Handle a header field; called by the parser."""
        if name.lower() == b"retry-after":
            self._retry_after = value.decode("latin-1")

    def on_body(self, data: bytes) -> None:
        """Handle a piece of the body; called by the parser."""
        self._body.append(data)

    def on_message_complete(self) -> None:
        """Handle the end of a reply; called by the parser."""
        status = self._parser.get_status_code()
        if status < 200:
            return
        answer = Answer(status, b"".join(self._body), self._retry_after)
        self._body, self._retry_after = [], ""
        if self._parser.should_keep_alive():
            self._connections.release(self)
        else:
            self.close()
        self._finish(answer)

    def _finish(self, answer: Answer) -> None:
        on_answer, self._on_answer = self._on_answer, None
        if on_answer is not None:
            on_answer(answer)


class LoadConnections:
    """The connections to one port of this machine; another one is opened when all are in use."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._loop = asyncio.get_running_loop()
        self._free: deque[LoadConnection] = deque()
        self._all: set[LoadConnection] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self, count: int = CONNECTIONS) -> None:
        """Open connections before the load starts.

        Raises:
            OSError: Nothing listens on the port.
        """
        for _ in range(count):
            self._free.append(await self._connect())

    def send(self, request: bytes, on_answer: OnAnswer) -> None:
        """Send a request on the connection that has been idle longest."""
        while self._free:
            connection = self._free.popleft()
            if connection.is_usable:
                connection.send(request, on_answer)
                return
        task = self._loop.create_task(self._send_on_new(request, on_answer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def release(self, connection: LoadConnection) -> None:
        """Take back a connection whose reply is complete."""
        self._free.append(connection)

    def remove(self, connection: LoadConnection) -> None:
        """Forget a connection that has ended."""
        self._all.discard(connection)

    def close(self) -> None:
        """Abort all connections."""
        for task in self._tasks:
            task.cancel()
        for connection in list(self._all):
            connection.close()

    async def _connect(self) -> LoadConnection:
        _, connection = await self._loop.create_connection(lambda: LoadConnection(self), "127.0.0.1", self._port)
        self._all.add(connection)
        return connection

    async def _send_on_new(self, request: bytes, on_answer: OnAnswer) -> None:
        try:
            connection = await self._connect()
        except OSError:
            on_answer(NO_ANSWER)
        else:
            connection.send(request, on_answer)
