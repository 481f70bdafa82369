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
from embedfleet.gateway.reply import ReplyHead, ReplyMemory
from embedfleet.http.message import BODILESS, Header, find

# An unused connection is closed after this long: sooner than any server we know closes it (TEI's never does, ours
# after 120 s), so that a request seldom meets a connection that is just being closed.
_IDLE_S = 55.0
_CONNECT_S = 5.0


class Reply:
    """A replica's reply, whole or begun."""

    __slots__ = ("body", "head")

    def __init__(self, head: ReplyHead, body: bytes) -> None:
        self.head = head
        self.body = body


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

    __slots__ = ("_data", "_pool", "connection", "deadline", "is_head", "receiver", "retried")

    def __init__(self, pool: "Pool", data: bytes, receiver: Receiver, *, is_head: bool) -> None:
        self._pool = pool
        self._data = data
        self.receiver = receiver
        self.deadline = pool.now() + pool.timeout_s
        self.is_head = is_head
        self.retried = False
        self.connection: _Connection | None = None

    def cancel(self) -> None:
        """Close the connection: the replica drops what it has queued for it. Nothing is called after this."""
        self._pool.calls.discard(self)
        if self.connection is not None:
            self.connection.call = None
            self.connection.close()

    def pause(self, paused: bool) -> None:
        """Stop or go on reading the reply; while it is stopped, its slowness is the client's."""
        self.deadline = float("inf") if paused else self._pool.now() + self._pool.timeout_s
        if self.connection is not None:
            self.connection.pause(paused)

    def send_on(self, connection: "_Connection") -> None:
        """Write the request."""
        self.connection = connection
        connection.begin(self, self._data)

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
        timeout_s: from sending to the end of the reply; of a streamed one between any two parts of it.
    """

    def __init__(self, url: str, *, hold_bytes: int, timeout_s: float) -> None:
        parts = urlsplit(url)
        self.url = url
        self.host = parts.hostname or "127.0.0.1"
        self.port = parts.port or 80
        self.prefix = parts.path.rstrip("/").encode()
        self.host_line = f"host: {self.host}:{self.port}\r\n\r\n".encode()
        self.heads = ReplyMemory()
        self.hold_bytes = hold_bytes
        self.timeout_s = timeout_s
        self.calls: set[Call] = set()
        self._idle: list[_Connection] = []
        self._opening: set[asyncio.Task[None]] = set()
        self._closed = False
        self._loop = asyncio.get_running_loop()
        self.now = self._loop.time

    def send(self, data: bytes, receiver: Receiver, *, is_head: bool = False) -> Call:
        """Send a request on an idle connection, the one used last, or on a new one.

        Args:
            data: the request as it goes on the wire.
            receiver: of the reply; never called from within this method.
            is_head: whether the reply has no body whatever its length says.
        """
        call = Call(self, data, receiver, is_head=is_head)
        self.calls.add(call)
        while self._idle:
            connection = self._idle.pop()
            if connection.is_open:
                call.send_on(connection)
                return call
        self.open_for(call)
        return call

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
        self._status = 0
        self._headers: list[Header] = []
        self._body: list[bytes] = []
        self._size = 0
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

    def begin(self, call: Call, data: bytes) -> None:
        """Write a request; its reply is what comes next."""
        self.call = call
        self._uses += 1
        self._heard = False
        if self._transport is None:  # it went between the choice and now
            self._pool.soon(self._broken)
        else:
            self._transport.write(data)

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
        if self.call is not None and self._heard and self._headed and not self._framed and exc is None:
            self._complete()  # a body without a length ends with its connection (RFC 9112 §6.3)
        else:
            self._broken()

    def data_received(self, data: bytes) -> None:
        call = self.call
        if call is None:
            self.close()  # nobody asked
            return
        if not self._heard:
            self._heard = True
            if self._receive_whole(call, data):
                return
            self._headers, self._body, self._size = [], [], 0
            self._headed = self._framed = self._finished = self._keep = self._streaming = False
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self.call = None
            self.close()
            call.fail(Malformed(f"{self._pool.url}: {error}"))
            return
        if self._finished:
            self._complete()

    def _receive_whole(self, call: Call, data: bytes) -> bool:
        """Take a plain reply that came in one piece, as most do; the parser takes the others."""
        end = data.find(b"\r\n\r\n")
        if end < 0 or call.is_head:
            return False
        head = self._pool.heads.find(data[:end])
        if head is None or len(data) - end - 4 != head.length:
            return False
        self.call = call.connection = None
        self._pool.calls.discard(call)
        self.idle_since = self._pool.now()
        self._pool.release(self)
        call.receiver.on_reply(Reply(head, data[end + 4 :]))
        return True

    # httptools callbacks; what follows a finished reply was not asked for, and ends the connection's use

    def on_message_begin(self) -> None:
        if self._finished:
            self._keep = False

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._headed:  # else a trailer
            self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        if self._finished:
            return
        status = self._parser.get_status_code()
        if status < 200:  # an interim reply: the real one follows
            self._headers.clear()
            return
        self._status = status
        self._headed = True
        # Once the message is complete the parser no longer knows.
        self._keep = self._parser.should_keep_alive()
        bodiless = status in BODILESS or (self.call is not None and self.call.is_head)
        self._framed = bodiless or any(n in {b"content-length", b"transfer-encoding"} for n, _ in self._headers)
        if self.call is not None and self.call.is_head:
            self._keep = False  # the parser would take the next reply for this one's body
            self._finished = True

    def on_body(self, data: bytes) -> None:
        call = self.call
        if call is None or self._finished:
            return
        if self._streaming:
            self._extend(call)
            call.receiver.on_data(data)
            return
        self._body.append(data)
        self._size += len(data)
        if self._size > self._pool.hold_bytes:
            self._streaming = True
            self._extend(call)
            call.receiver.on_begin(self._reply())

    def _extend(self, call: Call) -> None:
        """More of a streamed reply came; bytes that were read before a pause do not end the pause."""
        if call.deadline != float("inf"):
            call.deadline = self._pool.now() + self._pool.timeout_s

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
            call.receiver.on_reply(self._reply())

    def _reply(self) -> Reply:
        """What there is of it."""
        head = ReplyHead(self._status, self._headers)
        length = find(self._headers, b"content-length")
        head.length = int(length) if length is not None else -1
        return Reply(head, self._body[0] if len(self._body) == 1 else b"".join(self._body))

    def _broken(self) -> None:
        call, self.call = self.call, None
        if call is not None:
            call.fail(Reset(f"{self._pool.url}: the connection ended before the reply did"))
