"""The only file that opens sockets to replicas: pooled connections, one request at a time on each.

A reply is collected whole and handed over at once, unless it outgrows ``hold_bytes``: then its head and what is there
are handed over, and the rest follows as it comes.
"""

import asyncio
from collections.abc import Callable
from typing import Final, cast
from urllib.parse import urlsplit

import httptools

from embedfleet.errors import Malformed, Refused, Reset, Starved, TimedOut
from embedfleet.gateway.call import Call
from embedfleet.gateway.reply import ReplyHead, ReplyMemory
from embedfleet.http.message import BODILESS, Header
from embedfleet.kernel_limits import ran_out
from embedfleet.probe.watch import Watch

# An unused connection is closed after this long: sooner than any server we know closes it (TEI's never does, ours
# after 120 s), so that a request seldom meets a connection that is just being closed.
_IDLE_S = 55.0
_CONNECT_S = 5.0
_HEAD_END: Final = b"\r\n\r\n"
_NO_PARSER = httptools.HttpResponseParser(None)  # of a connection that ended


class Pool:
    """The connections to one replica.

    Args:
        url: ``http://host:port``, with an optional path that is put before every target.
        hold_bytes: the largest reply that is held until it is whole.
        timeout_s: from sending to the end of the reply; of a streamed one between any two parts of it.
        on_doubt: called when the process there may be another: no new connection is used until `trust`.
    """

    def __init__(self, url: str, *, hold_bytes: int, timeout_s: float, on_doubt: Callable[[], None]) -> None:
        parts = urlsplit(url)
        self.url = url
        self.host = parts.hostname or "127.0.0.1"
        self.port = parts.port or 80
        self.prefix = parts.path.rstrip("/").encode()
        self.last_line = f"\r\nhost: {self.host}:{self.port}\r\n\r\n".encode()  # of the head, from the CRLF before it
        self.heads = ReplyMemory()
        self.hold_bytes = hold_bytes
        self.timeout_s = timeout_s
        self.pending: set[Call] = set()  # their connections are being opened
        self._connections: set[_Connection] = set()
        self._idle: list[_Connection] = []
        self._opening: set[asyncio.Task[None]] = set()
        self._waiting: list[Call] = []  # for the process to be proven, of those that are pending
        self._is_trusted = False
        self._on_doubt = on_doubt
        self.watch = Watch(self.host, self.port, self._doubt)
        self._closed = False
        self._loop = asyncio.get_running_loop()
        self.now = self._loop.time

    @property
    def busy(self) -> bool:
        """Whether calls are under way."""
        return bool(self.pending) or any(connection.call is not None for connection in self._connections)

    def send(self, call: Call, data: bytes, now: float, *, is_head: bool) -> None:
        """Send a request on an idle connection, the one used last, or on a new one.

        Args:
            call: nothing of it is called from within this method.
            data: the request as it goes on the wire.
            now: the loop's time.
            is_head: whether the reply has no body whatever its length says.
        """
        call.pool = self
        call.data = data
        call.deadline = now + self.timeout_s
        call.is_head = is_head
        call.retried = False
        while self._idle:
            if self._idle.pop().begin(call):
                return
        self.open_for(call)

    def open_for(self, call: Call) -> None:
        """Open a connection for a call, once it is known who answers there."""
        self.pending.add(call)
        if not self._is_trusted:
            self._await_trust(call)
            return
        task = self._loop.create_task(self._open(call))
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)

    async def _open(self, call: Call) -> None:
        try:
            async with asyncio.timeout(_CONNECT_S):
                _, protocol = await self._loop.create_connection(self._connection, self.host, self.port)
        except (OSError, TimeoutError) as error:
            if call in self.pending:
                # Once sent, it is not merely refused: the replica may have died of it on the connection before.
                kind = Starved if ran_out(error) else Reset if call.retried else Refused
                call.fail(kind(f"{self.url}: {error or 'no connection in time'}"))
            return
        connection = cast("_Connection", protocol)
        if call not in self.pending:  # cancelled meanwhile
            connection.close()
            return
        if not self._is_trusted:  # it may be another's
            connection.close()
            self._await_trust(call)
            return
        self.pending.discard(call)
        if not connection.begin(call):
            call.fail(Reset(f"{self.url}: the connection ended before it was used"))

    def _await_trust(self, call: Call) -> None:
        """Keep a call until it is known who answers there; but who had it before may have died of it."""
        if call.retried:
            call.fail(Reset(f"{self.url}: the connection ended before the reply did"))
        else:
            self._waiting.append(call)

    def trust(self) -> None:
        """The process there was proven, and is watched."""
        self._is_trusted = True
        waiting, self._waiting = self._waiting, []
        for call in waiting:
            if call in self.pending:
                self.open_for(call)

    def turn_away(self, reason: str) -> None:
        """The process there was not proven: calls that wait for that are refused."""
        waiting, self._waiting = self._waiting, []
        for call in waiting:
            if call in self.pending:
                call.fail(Refused(f"{self.url}: {reason}"))

    def _doubt(self) -> None:
        self._is_trusted = False
        self._on_doubt()

    def _connection(self) -> asyncio.Protocol:
        return cast("asyncio.Protocol", _Connection(self))

    def opened(self, connection: "_Connection") -> None:
        """A connection is there."""
        self._connections.add(connection)

    def release(self, connection: "_Connection") -> None:
        """A connection is idle again."""
        if self._closed:
            connection.close()
        else:
            self._idle.append(connection)

    def drop(self, connection: "_Connection") -> None:
        """A connection is gone."""
        self._connections.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)

    def sweep(self, now: float) -> None:
        """Fail calls whose time is up, close connections that nobody used for long; to be called now and then."""
        under_way = [connection.call for connection in self._connections if connection.call is not None]
        for call in [call for call in (*self.pending, *under_way) if call.deadline < now]:
            connection = call.connection
            call.retried = True
            if connection is not None:
                connection.call = None
                connection.close()
            call.fail(TimedOut(f"{self.url}: no answer in {self.timeout_s:g} s"))
        for connection in [connection for connection in self._idle if connection.idle_since < now - _IDLE_S]:
            self._idle.remove(connection)
            connection.close()

    def stood_still(self, seconds: float) -> None:
        """Nothing was read for so long: that is not counted."""
        for call in {*self.pending, *(one.call for one in self._connections if one.call is not None)}:
            call.deadline += seconds

    def close(self) -> None:
        """Close idle connections now, and the others when they are done."""
        self._closed = True
        self.watch.close()
        for connection in self._idle:
            connection.close()
        self._idle.clear()


class _Connection:
    """One connection to a replica; `call` is what it works on, None while it is idle."""

    def __init__(self, pool: Pool) -> None:
        self.call: Call | None = None
        self.idle_since = 0.0
        self._pool = pool
        self._find_head = pool.heads.find
        self._now = pool.now
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
        self._paused = False  # reading
        self._choked = False  # the replica has not taken all of a request

    @property
    def is_stale(self) -> bool:
        """Whether it was kept from an earlier request and broke before this one's reply began."""
        return self._uses > 1 and not self._heard

    def begin(self, call: Call) -> bool:
        """Write a request; its reply is what comes next. False, and nothing is done, if the connection is gone."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return False
        self.call = call
        call.connection = self
        self._uses += 1
        self._heard = False
        transport.write(call.data)
        return True

    def pause(self, paused: bool) -> None:
        """Stop or go on reading."""
        if self._transport is not None and not self._transport.is_closing():
            self._paused = paused
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
        self._pool.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._pool.drop(self)
        if self.call is not None and self._heard and self._headed and not self._framed and exc is None:
            self._complete()  # a body without a length ends with its connection (RFC 9112 §6.3)
        else:
            self._broken()
        self._body = []
        self._parser = _NO_PARSER  # it refers to us: else a cycle for the collector

    def eof_received(self) -> None:
        """The replica says nothing more: the connection is closed."""

    def pause_writing(self) -> None:
        """The replica does not read: what it is sent is whole in memory anyway."""
        self._choked = True

    def resume_writing(self) -> None:
        """It reads again."""
        self._choked = False

    def data_received(self, data: bytes) -> None:
        call = self.call
        if call is None:
            self.close()  # nobody asked
            return
        if not self._heard:
            if self._receive_whole(call, data):
                return
            self._heard = True
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
        start, end, body = data.partition(_HEAD_END)
        head = self._find_head(start)
        if head is None or len(body) != head.length or call.is_head or not end or self._choked:
            return False
        self.call = call.connection = None
        self.idle_since = now = self._now()
        self._pool.release(self)
        call.on_reply(head, body, now)
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
            call.on_data(data)
            return
        self._body.append(data)
        self._size += len(data)
        if self._size > self._pool.hold_bytes:
            self._streaming = True
            self._extend(call)
            call.on_begin(self._reply_head(), self._reply_body())

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
        call.connection = None
        now = self._pool.now()
        if self._keep and self._is_clean() and self._transport is not None and not self._transport.is_closing():
            self.idle_since = now
            self._pool.release(self)
        else:
            self.close()
        if self._streaming:
            call.on_end()
        else:
            call.on_reply(self._reply_head(), self._reply_body(), now)

    def _is_clean(self) -> bool:
        """Whether nothing of the call that is over is left, so that the next one finds it as if it were new."""
        if self._paused:
            self.pause(False)  # its reader was slow when the last of it came
        return not self._choked

    def _reply_head(self) -> ReplyHead:
        return ReplyHead.parsed(self._status, self._headers)

    def _reply_body(self) -> bytes:
        """What there is of it; it is kept here no longer."""
        parts, self._body = self._body, []
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _broken(self) -> None:
        call, self.call = self.call, None
        if call is not None:
            call.fail(Reset(f"{self._pool.url}: the connection ended before the reply did"))
