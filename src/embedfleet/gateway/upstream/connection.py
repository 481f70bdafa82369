"""A connection to a replica, with one request at a time.

A reply is collected, and handed over when it is complete. A reply larger than ``hold_bytes`` is handed over as it
arrives: first its head with the bytes so far, then the rest.
"""

import asyncio
from abc import abstractmethod
from math import inf
from typing import Final, cast

import httptools
from typing_extensions import override

from embedfleet.errors import Malformed, Reset
from embedfleet.gateway.upstream.call import Call, CallConnection, CallPool
from embedfleet.gateway.upstream.reply import ReplyHead, ReplyMemory
from embedfleet.http.message import BODILESS, Header
from embedfleet.http.reply_overhead import Overhead

_HEAD_END: Final = b"\r\n\r\n"
_PIECE_BYTES: Final = 64  # memory of a piece of a body besides its bytes
_NO_PARSER = httptools.HttpResponseParser(None)  # placeholder for the parser of a closed connection


class UpstreamOwner(CallPool):
    """Interface of a connection pool, as its connections use it.

    Attributes:
        url: Address of the replica.
        heads: Remembered heads of replies.
        hold_bytes: Size of the largest reply that is held until it is complete.
    """

    url: str
    heads: ReplyMemory
    hold_bytes: int

    @abstractmethod
    def opened(self, connection: "Upstream") -> None:
        """Add a new connection."""

    @abstractmethod
    def release(self, connection: "Upstream") -> None:
        """Mark a connection as idle."""

    @abstractmethod
    def drop(self, connection: "Upstream") -> None:
        """Remove a lost connection."""


class Upstream(CallConnection):
    """One connection to a replica.

    Args:
        pool: Connections to the same replica.
    """

    def __init__(self, pool: UpstreamOwner) -> None:
        self.call = None
        self.idle_since = inf
        self._pool = pool
        self._find_head = pool.heads.find
        self._now = pool.now
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._status = 0
        self._overhead = Overhead()
        self._headers: list[Header] = []
        self._body: list[bytes] = []
        self._size = 0  # memory of the collected body, which may arrive byte by byte
        self._uses = 0
        self.is_heard = False
        self._has_head = False  # the whole head of the reply has come
        self._is_framed = False  # the head tells where the reply ends
        self._is_finished = False  # the end of the reply has arrived
        self._keeps_alive = False
        self._is_streaming = False
        self._is_paused = False  # reading is paused
        self._is_choked = False  # part of the request is still unsent

    @property
    @override
    def is_stale(self) -> bool:
        return self._uses > 1 and not self.is_heard

    @override
    def begin(self, call: Call) -> bool:
        transport = self._transport
        if transport is None or transport.is_closing():
            return False
        self.call = call
        call.connection = self
        self._uses += 1
        self.is_heard = False
        transport.write(call.data)
        return True

    @override
    def pause(self, paused: bool) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._is_paused = paused
            if paused:
                self._transport.pause_reading()
            else:
                self._transport.resume_reading()

    @override
    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    # callbacks of asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start to use the new connection."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's transports are not a subclass
        self._pool.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Handle the loss of the connection."""
        self._transport = None
        self._pool.drop(self)
        if self.call is not None and self.is_heard and self._has_head and not self._is_framed and exc is None:
            self._complete()  # a body without a length ends with its connection (RFC 9112 §6.3)
        else:
            self._broken()
        self._body = []
        self._parser = _NO_PARSER  # the parser refers to this object: this breaks the cycle

    def eof_received(self) -> None:
        """Let asyncio close the connection, because the replica sends nothing more."""

    def pause_writing(self) -> None:
        """Record that the replica is slow to read; the whole request is in memory anyway."""
        self._is_choked = True

    def resume_writing(self) -> None:
        """Record that the replica reads again."""
        self._is_choked = False

    def data_received(self, data: bytes) -> None:
        """Handle bytes of a reply."""
        call = self.call
        if call is None:
            self.close()  # no call is in progress
            return
        if call.connection is not self and not call.is_answered_on(self):
            self.call = None
            self.close()
            return
        if not self.is_heard:
            if self._receive_whole(call, data):
                return
            self.is_heard = True
            self._overhead.clear()
            self._headers, self._body, self._size = [], [], 0
            self._has_head = self._is_framed = self._is_finished = self._keeps_alive = self._is_streaming = False
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._refuse(call, str(error))
            return
        if not self._is_finished:
            self._overhead.add_read(len(data))
        if self._overhead.fault:
            self._refuse(call, self._overhead.fault)
        elif self._is_finished:
            self._complete()

    def _refuse(self, call: Call, fault: str) -> None:
        """Fail a call whose reply is not valid HTTP or has no end, unless the call is already over."""
        if self.call is call:
            self.call = None
            self.close()
            call.fail(Malformed(f"{self._pool.url}: {fault}"))

    def _receive_whole(self, call: Call, data: bytes) -> bool:
        """Handle a plain reply that arrived in one piece, as most do; return False if the parser has to read it."""
        start, end, body = data.partition(_HEAD_END)
        head = self._find_head(start) if end else None
        if head is None or len(body) != head.length or call.is_head or self._is_choked:
            return False
        self.call = call.connection = None
        self.idle_since = now = self._now()
        self._pool.release(self)
        call.on_reply(head, body, now)
        return True

    # callbacks of httptools; unexpected bytes after a reply end the use of the connection

    def on_message_begin(self) -> None:
        """Handle the beginning of a reply."""
        if self._is_finished:
            self._keeps_alive = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """Handle a field of the head or of the trailer."""
        if self._is_finished:
            return
        self._overhead.add_field(name, value)
        if not self._has_head:  # fields after the head belong to the trailer
            self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """Handle the end of the head."""
        if self._is_finished:
            return
        status = self._parser.get_status_code()
        if not self._overhead.add_head(status):
            self._headers.clear()
            return
        self._status = status
        self._has_head = True
        # After the message is complete, the parser no longer knows this.
        self._keeps_alive = self._parser.should_keep_alive()
        is_bodiless = status in BODILESS or (self.call is not None and self.call.is_head)
        self._is_framed = is_bodiless or any(n in {b"content-length", b"transfer-encoding"} for n, _ in self._headers)
        if self.call is not None and self.call.is_head:
            self._keeps_alive = False  # the parser would read the next reply as this one's body
            self._is_finished = True

    def on_body(self, data: bytes) -> None:
        """Handle bytes of the body."""
        call = self.call
        if call is None or self._is_finished:
            return
        self._overhead.add_body()
        if self._is_streaming:
            call.on_data(data)
            return
        self._body.append(data)
        self._size += len(data) + _PIECE_BYTES
        if self._size > self._pool.hold_bytes:
            self._is_streaming = True
            call.on_begin(self._reply_head(), self._take_body())

    def on_message_complete(self) -> None:
        """Handle the end of the body."""
        self._is_finished = self._has_head

    # the end of a call

    def _complete(self) -> None:
        """Hand over the reply, and keep the connection if it can be reused."""
        call, self.call = self.call, None
        if call is None:
            return
        call.connection = None
        now = self._pool.now()
        if self._keeps_alive and self._is_clean() and self._transport is not None and not self._transport.is_closing():
            self.idle_since = now
            self._pool.release(self)
        else:
            self.close()
        if self._is_streaming:
            call.on_end()
        else:
            call.on_reply(self._reply_head(), self._take_body(), now)

    def _is_clean(self) -> bool:
        """Resume paused reading; return whether the whole request was sent, so that another can follow it."""
        if self._is_paused:
            self.pause(False)  # a slow client had paused the reading
        return not self._is_choked

    def _reply_head(self) -> ReplyHead:
        return ReplyHead.parsed(self._status, self._headers)

    def _take_body(self) -> bytes:
        """Return the collected body, and forget it here."""
        parts, self._body = self._body, []
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _broken(self) -> None:
        call, self.call = self.call, None
        if call is not None and not call.outlives(self):
            call.fail(Reset(f"{self._pool.url}: the connection ended before the reply did"))
