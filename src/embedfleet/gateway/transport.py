"""The only file that opens sockets to replicas: pooled connections, one request at a time on each.

A reply is collected whole and handed over at once, unless it outgrows ``hold_bytes``: then its head and what is there
are handed over, and the rest follows as it comes.
"""

import asyncio
from collections.abc import Callable
from typing import Protocol, cast
from urllib.parse import urlsplit

import httptools

from embedfleet.errors import Malformed, Refused, Reset, TimedOut, UpstreamError
from embedfleet.http.message import BODILESS, Header

# An unused connection is closed after this long: sooner than any server we know closes it (TEI's never does, ours
# after 120 s), so that a request seldom meets a connection that is just being closed.
_IDLE_S = 55.0
_CONNECT_S = 5.0


class Reply:
    """A replica's reply, whole or begun."""

    __slots__ = ("body", "headers", "size", "status")

    def __init__(self) -> None:
        self.status = 0
        self.headers: list[Header] = []
        self.body: list[bytes] = []
        self.size = 0

    def header(self, name: bytes) -> bytes | None:
        """The first value of a field, or None."""
        for key, value in self.headers:
            if key == name:
                return value
        return None


class Receiver(Protocol):
    """Who waits for a reply; exactly one of `on_reply`, `on_error` and the sequence from `on_begin` is called."""

    def on_reply(self, reply: Reply) -> None:
        """The whole reply."""

    def on_begin(self, reply: Reply) -> None:
        """The beginning of a reply too large to be held: its head, and as much of its body as is there."""

    def on_data(self, data: bytes) -> None:
        """More of its body."""

    def on_end(self) -> None:
        """The end of its body."""

    def on_error(self, error: UpstreamError) -> None:
        """No reply; or, after `on_begin`, no more of it."""


class Call:
    """One request on its way: the handle to pause or cancel it."""

    __slots__ = ("_body", "_head", "_method", "_pool", "connection", "deadline", "receiver", "retried")

    def __init__(self, pool: "Pool", method: bytes, head: bytes, body: bytes, *, receiver: Receiver) -> None:
        self._pool = pool
        self._method = method
        self._head = head
        self._body = body
        self.receiver = receiver
        self.deadline = pool.now() + pool.timeout_s
        self.retried = False
        self.connection: _Connection | None = None

    @property
    def is_head(self) -> bool:
        """Whether the reply has no body whatever its length says."""
        return self._method == b"HEAD"

    def cancel(self) -> None:
        """Close the connection: the replica drops what it has queued for it. Nothing is called after this."""
        self._pool.calls.discard(self)
        if self.connection is not None:
            self.connection.call = None
            self.connection.close()

    def pause(self, paused: bool) -> None:
        """Stop or go on reading the reply."""
        if self.connection is not None:
            self.connection.pause(paused)

    def send_on(self, connection: "_Connection") -> None:
        """Write the request."""
        self.connection = connection
        connection.begin(self, b"".join((self._method, b" ", self._pool.prefix, self._head)), self._body)

    def fail(self, error: UpstreamError) -> None:
        """Give up on this connection; a kept one that broke before any answer says nothing of the replica: try anew."""
        connection, self.connection = self.connection, None
        if isinstance(error, Reset) and connection is not None and connection.is_stale and not self.retried:
            self.retried = True
            self._pool.open_for(self)
            return
        self._pool.calls.discard(self)
        self.receiver.on_error(error)


class Pool:
    """The connections to one replica.

    Args:
        url: ``http://host:port``, with an optional path that is put before every target.
        hold_bytes: the largest reply that is held until it is whole.
        timeout_s: from sending to the end of the reply, or to its beginning if it is streamed.
    """

    def __init__(self, url: str, *, hold_bytes: int, timeout_s: float) -> None:
        parts = urlsplit(url)
        self.url = url
        self.host = parts.hostname or "127.0.0.1"
        self.port = parts.port or 80
        self.prefix = parts.path.rstrip("/").encode()
        self.authority = f"{self.host}:{self.port}".encode()
        self.hold_bytes = hold_bytes
        self.timeout_s = timeout_s
        self.calls: set[Call] = set()
        self._idle: list[_Connection] = []
        self._opening: set[asyncio.Task[None]] = set()
        self._closed = False
        self._loop = asyncio.get_running_loop()

    def send(self, method: bytes, head: bytes, body: bytes, receiver: Receiver) -> Call:
        """Send a request on an idle connection, the one used last, or on a new one.

        Args:
            method: as it goes on the wire.
            head: all from the target to the empty line.
            body: its length is stated in ``head``.
            receiver: of the reply; never called from within this method.
        """
        call = Call(self, method, head, body, receiver=receiver)
        self.calls.add(call)
        while self._idle:
            connection = self._idle.pop()
            if connection.is_open:
                call.send_on(connection)
                return call
        self.open_for(call)
        return call

    def now(self) -> float:
        """The loop's time, in seconds."""
        return self._loop.time()

    def soon(self, call: Callable[[], None]) -> None:
        """Call in the loop's next round."""
        self._loop.call_soon(call)

    def open_for(self, call: Call) -> None:
        """Open a connection for a call."""
        task = self._loop.create_task(self._open(call))
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)

    async def _open(self, call: Call) -> None:
        try:
            async with asyncio.timeout(_CONNECT_S):
                _, connection = await self._loop.create_connection(lambda: _Connection(self), self.host, self.port)
        except (OSError, TimeoutError) as error:
            if call in self.calls:
                call.fail(Refused(f"{self.url}: {error or 'no connection in time'}"))
            return
        if call in self.calls:
            call.send_on(connection)
        else:  # cancelled meanwhile
            connection.close()

    def release(self, connection: "_Connection") -> None:
        """A connection is idle again."""
        if self._closed:
            connection.close()
        else:
            self._idle.append(connection)

    def drop(self, connection: "_Connection") -> None:
        """A connection is gone."""
        if connection in self._idle:
            self._idle.remove(connection)

    def sweep(self, now: float) -> None:
        """Fail calls whose time is up, close connections that nobody used for long; to be called now and then."""
        for call in [call for call in self.calls if call.deadline < now]:
            connection = call.connection
            call.retried = True
            if connection is not None:
                connection.call = None
                connection.close()
            call.fail(TimedOut(f"{self.url}: no answer in {self.timeout_s:g} s"))
        for connection in [connection for connection in self._idle if connection.idle_since < now - _IDLE_S]:
            self._idle.remove(connection)
            connection.close()

    def close(self) -> None:
        """Close idle connections now, and the others when they are done."""
        self._closed = True
        for connection in self._idle:
            connection.close()
        self._idle.clear()


class _Connection(asyncio.Protocol):
    """One connection to a replica; `call` is what it works on, None while it is idle."""

    def __init__(self, pool: Pool) -> None:
        self.call: Call | None = None
        self.idle_since = 0.0
        self._pool = pool
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._reply = Reply()
        self._uses = 0
        self._heard = False  # a byte of the reply
        self._headed = False  # its whole head
        self._framed = False  # its end is known without the connection's end
        self._finished = False  # its end
        self._keep = False
        self._streaming = False

    @property
    def is_open(self) -> bool:
        """Whether a request may be written."""
        return self._transport is not None and not self._transport.is_closing()

    @property
    def is_stale(self) -> bool:
        """Whether it was kept from an earlier request and broke before this one's reply began."""
        return self._uses > 1 and not self._heard

    def begin(self, call: Call, head: bytes, body: bytes) -> None:
        """Write a request; its reply is what comes next."""
        self.call = call
        self._uses += 1
        self._reply = Reply()
        self._heard = self._headed = self._framed = self._finished = self._keep = self._streaming = False
        if self._transport is None:  # it went between the choice and now
            self._pool.soon(self._broken)
        elif len(body) <= 65_536:
            self._transport.write(head + body)
        else:
            self._transport.write(head)
            self._transport.write(body)

    def pause(self, paused: bool) -> None:
        """Stop or go on reading."""
        if self._transport is not None and not self._transport.is_closing():
            if paused:
                self._transport.pause_reading()
            else:
                self._transport.resume_reading()

    def close(self) -> None:
        """Drop the connection at once."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are no subclass

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._pool.drop(self)
        if self.call is not None and self._headed and not self._framed and exc is None:
            self._complete()  # a body without a length ends with its connection (RFC 9112 §6.3)
        else:
            self._broken()

    def data_received(self, data: bytes) -> None:
        if self.call is None:
            self.close()  # nobody asked
            return
        self._heard = True
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            call, self.call = self.call, None
            self.close()
            if call is not None:
                call.fail(Malformed(f"{self._pool.url}: {error}"))
            return
        if self._finished:
            self._complete()

    # httptools callbacks; what follows a finished reply was not asked for, and ends the connection's use

    def on_message_begin(self) -> None:
        if self._finished:
            self._keep = False

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._headed:  # else a trailer
            self._reply.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        if self._finished:
            return
        status = self._parser.get_status_code()
        if status < 200:  # an interim reply: the real one follows
            self._reply.headers.clear()
            return
        reply = self._reply
        reply.status = status
        self._headed = True
        # Once the message is complete the parser no longer knows.
        self._keep = self._parser.should_keep_alive()
        bodiless = status in BODILESS or (self.call is not None and self.call.is_head)
        self._framed = bodiless or any(n in {b"content-length", b"transfer-encoding"} for n, _ in reply.headers)
        if self.call is not None and self.call.is_head:
            self._keep = False  # the parser would take the next reply for this one's body
            self._finished = True

    def on_body(self, data: bytes) -> None:
        call = self.call
        if call is None or self._finished:
            return
        if self._streaming:
            call.receiver.on_data(data)
            return
        self._reply.body.append(data)
        self._reply.size += len(data)
        if self._reply.size > self._pool.hold_bytes:
            self._streaming = True
            call.deadline = float("inf")  # it answers: from here on the client's own pace counts
            call.receiver.on_begin(self._reply)

    def on_message_complete(self) -> None:
        self._finished = self._headed

    def _complete(self) -> None:
        call, self.call = self.call, None
        if call is None:
            return
        self._pool.calls.discard(call)
        call.connection = None
        if self._keep and self.is_open:
            self.idle_since = self._pool.now()
            self._pool.release(self)
        else:
            self.close()
        if self._streaming:
            call.receiver.on_end()
        else:
            call.receiver.on_reply(self._reply)

    def _broken(self) -> None:
        call, self.call = self.call, None
        if call is not None:
            call.fail(Reset(f"{self._pool.url}: the connection ended before the reply did"))
