"""A connection to a replica: requests out, replies in, one at a time.

A reply is collected whole and handed over at once, unless it outgrows ``hold_bytes``: then its head and what is there
are handed over, and the rest follows as it comes.
"""

import asyncio
from math import inf
from typing import TYPE_CHECKING, Final, cast

import httptools

from embedfleet.errors import Malformed, Reset
from embedfleet.gateway.upstream.call import Call
from embedfleet.gateway.upstream.reply import ReplyHead
from embedfleet.http.message import BODILESS, Header
from embedfleet.http.overhead import Overhead

if TYPE_CHECKING:
    from embedfleet.gateway.upstream.transport import Pool

_HEAD_END: Final = b"\r\n\r\n"
_PIECE_BYTES: Final = 64  # that a piece of a body takes besides what is in it
_NO_PARSER = httptools.HttpResponseParser(None)  # of a connection that ended


class Upstream:
    """One connection to a replica; `call` is what it works on, None while it is idle."""

    def __init__(self, pool: "Pool") -> None:
        self.call: Call | None = None
        self.idle_since = inf  # before the call that it works on
        self._pool = pool
        self._find_head = pool.heads.find
        self._now = pool.now
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._status = 0
        self._overhead = Overhead()
        self._headers: list[Header] = []
        self._body: list[bytes] = []
        self._size = 0  # in memory: a body may come in pieces of a byte
        self._uses = 0
        self.heard = False  # a byte of the reply
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
        return self._uses > 1 and not self.heard

    def begin(self, call: Call) -> bool:
        """Write a request; its reply is what comes next. False, and nothing is done, if the connection is gone."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return False
        self.call = call
        call.connection = self
        self._uses += 1
        self.heard = False
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
        """It is there."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are no subclass
        self._pool.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        self._transport = None
        self._pool.drop(self)
        if self.call is not None and self.heard and self._headed and not self._framed and exc is None:
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
        """Some of a reply came."""
        call = self.call
        if call is None:
            self.close()  # nobody asked
            return
        if call.connection is not self and not call.is_answered_on(self):
            self.call = None
            self.close()
            return
        if not self.heard:
            if self._receive_whole(call, data):
                return
            self.heard = True
            self._overhead.clear()
            self._headers, self._body, self._size = [], [], 0
            self._headed = self._framed = self._finished = self._keep = self._streaming = False
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._refuse(call, str(error))
            return
        if not self._finished:
            self._overhead.add_read(len(data))
        if self._overhead.fault:
            self._refuse(call, self._overhead.fault)
        elif self._finished:
            self._complete()

    def _refuse(self, call: Call, fault: str) -> None:
        """The reply is not one, or has no end; its call may be over, by what has come of it."""
        if self.call is call:
            self.call = None
            self.close()
            call.fail(Malformed(f"{self._pool.url}: {fault}"))

    def _receive_whole(self, call: Call, data: bytes) -> bool:
        """Take a plain reply that came in one piece, as most do; the parser takes the others."""
        start, end, body = data.partition(_HEAD_END)
        head = self._find_head(start) if end else None
        if head is None or len(body) != head.length or call.is_head or self._choked:
            return False
        self.call = call.connection = None
        self.idle_since = now = self._now()
        self._pool.release(self)
        call.on_reply(head, body, now)
        return True

    # httptools callbacks; what follows a finished reply was not asked for, and ends the connection's use

    def on_message_begin(self) -> None:
        """A reply begins."""
        if self._finished:
            self._keep = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """A field of its head."""
        if self._finished:
            return
        self._overhead.add_field(name, value)
        if not self._headed:  # else a trailer
            self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """Its head is whole."""
        if self._finished:
            return
        status = self._parser.get_status_code()
        if not self._overhead.add_head(status):
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
        """Some of its body."""
        call = self.call
        if call is None or self._finished:
            return
        self._overhead.add_body()
        if self._streaming:
            call.on_data(data)
            return
        self._body.append(data)
        self._size += len(data) + _PIECE_BYTES
        if self._size > self._pool.hold_bytes:
            self._streaming = True
            call.on_begin(self._reply_head(), self._reply_body())

    def on_message_complete(self) -> None:
        """Its body is whole."""
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
        if call is not None and not call.outlives(self):
            call.fail(Reset(f"{self._pool.url}: the connection ended before the reply did"))
