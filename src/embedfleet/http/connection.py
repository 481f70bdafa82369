"""One client's connection to the server: bytes in, exchanges out, one at a time and in order."""

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from enum import Enum, auto
from typing import Final, cast

import httptools
from mypy_extensions import mypyc_attr

from embedfleet.errors import BodyTooLarge, HeadersTooLarge, MalformedBody, RequestError, RequestTimeout
from embedfleet.http.exchange import Exchange, Wire
from embedfleet.http.head import HeadMemory, RequestHead
from embedfleet.http.message import TEXT, Limits, head

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_CLOSE = b"connection: close\r\n"
_HEAD_END: Final = b"\r\n\r\n"

# Pipelined requests that may wait parsed on one connection before it is no longer read.
_PIPELINE = 16
# A refused client may still be sending: its bytes are read and dropped this long, so that the kernel does not
# answer them with a reset that destroys our reply on its way (RFC 9112 §9.6).
_LINGER_S = 5.0
# Clients beyond the limit that are given that moment too, the latest: each of them has a file.
_TURNED_AWAY: Final = 16


@mypyc_attr(allow_interpreted_subclasses=True)
class Host(ABC):
    """What a connection needs of its server."""

    loop: asyncio.AbstractEventLoop
    limits: Limits
    clients: "set[Connection]"
    turned_away: "dict[Connection, None]"
    most_clients: int
    refused: int
    heads: HeadMemory
    date: bytes
    draining: bool

    @abstractmethod
    def handle(self, exchange: Exchange) -> None:
        """Take a complete request."""

    @abstractmethod
    def settled(self) -> None:
        """An exchange ended or a client left."""


class _Phase(Enum):
    IDLE = auto()  # no byte of a request yet
    HEAD = auto()
    BODY = auto()
    CLOSED = auto()  # nothing more is parsed; an answer may still be on its way


# A member of an enum costs more to look up than a name.
_IDLE: Final = _Phase.IDLE
_HEAD: Final = _Phase.HEAD
_BODY: Final = _Phase.BODY
_CLOSED: Final = _Phase.CLOSED


@mypyc_attr(allow_interpreted_subclasses=True)
class Connection(Wire):
    """One client. Owns the request being parsed, those waiting, and the exchange under way."""

    def __init__(self, server: Host) -> None:
        self.server = server
        self.limits = server.limits
        self.deadline = 0.0  # loop time at which `expire` is called; 0 means never
        self.peer = b"unknown"
        self.draining = server.draining
        self._now = server.loop.time
        self._find_head = server.heads.find
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpRequestParser(self)
        self._phase = _IDLE
        self._head_bytes = 0
        self._complete = 0  # requests that the parser has finished
        self._expects_continue = False
        self._body: list[bytes] = []
        self._body_bytes = 0
        self._stated = 0  # length of the body, by the head
        self._incoming = RequestHead()
        self._waiting: deque[Exchange] = deque()
        self._current: Exchange | None = None
        self._refusal: RequestError | None = None
        self._write_paused = False
        self._read_paused = False

    @property
    def busy(self) -> bool:
        """Whether an exchange is under way or waits."""
        return self._current is not None or bool(self._waiting)

    @property
    def date(self) -> bytes:
        """The server's date line."""
        return self.server.date

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        wire = cast("asyncio.Transport", transport)  # uvloop's are no subclass
        self._transport = wire
        name = wire.get_extra_info("peername")
        if isinstance(name, tuple):
            self.peer = str(name[0]).encode("ascii", "replace")
        if len(self.server.clients) >= self.server.most_clients:
            self._turn_away(wire)
            return
        self.server.clients.add(self)
        self.deadline = self._now() + self.limits.header_timeout_s

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the reason changes nothing
        self._phase = _CLOSED
        self._transport = None
        self.server.clients.discard(self)
        self.server.turned_away.pop(self, None)
        self._waiting.clear()
        current, self._current = self._current, None
        if current is not None and not current.gone:
            current.gone = True
            if current.on_gone is not None:
                current.on_gone()
        self.server.settled()

    def _turn_away(self, wire: asyncio.Transport) -> None:
        """There are clients enough: say so, and free this one's file soon."""
        self.server.refused += 1
        self._phase = _CLOSED
        wire.write(head(503, [TEXT], _CLOSE, b"content-length: 0\r\n", b"retry-after: 1\r\n"))
        turned_away = self.server.turned_away
        if len(turned_away) >= _TURNED_AWAY:
            oldest = next(iter(turned_away))
            del turned_away[oldest]
            oldest.close()
        turned_away[self] = None
        self._linger()

    def eof_received(self) -> None:
        """The client says nothing more: the connection is closed."""

    def data_received(self, data: bytes) -> None:
        if self._phase is _IDLE and self._current is None and not self._waiting and not self._write_paused:
            self._receive_one(data)
        elif self._phase is not _CLOSED:
            self._parse(data)

    def _receive_one(self, data: bytes) -> None:
        """Bytes that begin a request while nothing else is under way: mostly a whole request with a known head."""
        start, end, body = data.partition(_HEAD_END)
        known = self._find_head(start, len(body))
        if known is not None and end:
            self.deadline = 0.0
            self._current = exchange = Exchange(self, known, body)
            self.server.handle(exchange)
            return
        count = self._complete
        self._parse(data)
        if self._complete == count + 1 and self._phase is _IDLE:
            self.server.heads.learn(data, self._incoming, self._stated)

    def _parse(self, data: bytes) -> None:
        if self._phase is _HEAD:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._phase = _CLOSED  # the request is answered as if no upgrade had been asked for, then we close
        except httptools.HttpParserError as error:
            self._refuse(MalformedBody(f"malformed HTTP request: {error}"))
        if self._phase is _HEAD and self._head_bytes > self.limits.header_bytes:
            self._refuse(self._head_too_large())
        if self._current is None:
            self._next()
        if self._transport is not None and not self._read_paused and len(self._waiting) >= _PIPELINE:
            self._read_paused = True
            self._transport.pause_reading()

    def pause_writing(self) -> None:
        self._write_paused = True
        self.deadline = self._now() + self.limits.write_timeout_s
        if self._current is not None and self._current.on_drain is not None:
            self._current.on_drain(False)

    def resume_writing(self) -> None:
        self._write_paused = False
        self.deadline = 0.0
        if self._current is None:
            self._rest()
            self._next()
        elif self._current.on_drain is not None:
            self._current.on_drain(True)

    # httptools callbacks; exceptions would be wrapped there, so refusals are noted and acted upon afterwards

    def on_message_begin(self) -> None:
        self._phase = _HEAD
        self._head_bytes = 0
        self._body = []
        self._body_bytes = 0
        self._expects_continue = False
        self._incoming = RequestHead()
        if self._current is None:
            self.deadline = self._now() + self.limits.header_timeout_s

    def on_url(self, url: bytes) -> None:
        self._incoming.target += url  # a long target comes in pieces

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._phase is not _HEAD:
            return  # a trailer
        name = name.lower()
        self._incoming.headers.append((name, value))
        if name == b"expect" and value.lower() == b"100-continue":
            self._expects_continue = True

    def on_headers_complete(self) -> None:
        incoming = self._incoming
        parser = self._parser
        incoming.method = parser.get_method()
        incoming.keep_alive = parser.should_keep_alive() and not parser.should_upgrade()
        incoming.old = parser.get_http_version() == "1.0"
        incoming.is_plain = incoming.keep_alive and not incoming.old and incoming.method != b"HEAD"
        self._phase = _BODY
        size = len(incoming.target) + sum(len(name) + len(value) + 4 for name, value in incoming.headers)
        if size > self.limits.header_bytes:
            self._refusal = self._head_too_large()
        length = incoming.find(b"content-length")
        self._stated = int(length or 0)
        if length is not None:
            incoming.headers.remove((b"content-length", length))
        if self._stated > self.limits.body_bytes and self._refusal is None:
            self._refusal = BodyTooLarge("Failed to buffer the request body: length limit exceeded")
        incoming.is_framed = (
            not self._expects_continue and not parser.should_upgrade() and not incoming.find(b"transfer-encoding")
        )
        if self._refusal is not None or self._current is not None:
            return
        self.deadline = self._now() + self.limits.body_timeout_s
        if self._expects_continue:
            self.write(_CONTINUE)

    def on_body(self, data: bytes) -> None:
        self._body_bytes += len(data)
        if self._body_bytes > self.limits.body_bytes:
            self._refusal = BodyTooLarge("Failed to buffer the request body: length limit exceeded")
            self._body = []
        if self._refusal is None:
            self._body.append(data)

    def on_message_complete(self) -> None:
        self._phase = _IDLE
        self._complete += 1
        if self._refusal is None:
            body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
            self._body = []
            self._waiting.append(Exchange(self, self._incoming, body))

    # the life of an exchange

    def _next(self) -> None:
        """Hand over the request that waits longest; then, if the parser refused something after it, say so."""
        while self._current is None and self._waiting and not self._write_paused:
            if self._transport is None or self._transport.is_closing():
                return
            exchange = self._current = self._waiting.popleft()
            self.deadline = 0.0
            if self._read_paused and len(self._waiting) < _PIPELINE:
                self._read_paused = False
                self._transport.resume_reading()
            self.server.handle(exchange)
        if self._current is None and not self._waiting and self._refusal is not None:
            self._refuse(self._refusal)

    def answered(self, keep_alive: bool) -> None:
        """The current exchange is complete."""
        self._current = None
        if self._transport is None:
            return
        if not keep_alive:
            self._linger()
        elif self._waiting or self._refusal is not None:
            # Not from here: a handler that answers at once would recurse once per pipelined request.
            self.server.loop.call_soon(self._next)
        elif self._phase is _CLOSED:
            self._linger()
        elif not self._write_paused:
            self._rest()
        if self.draining:
            self.server.settled()

    def _rest(self) -> None:
        """Set the deadline of whatever the client is now to send."""
        now = self._now()
        if self._phase is _HEAD:
            self.deadline = now + self.limits.header_timeout_s
        elif self._phase is _BODY:
            self.deadline = now + self.limits.body_timeout_s
            if self._expects_continue:
                self.write(_CONTINUE)
        else:
            self.deadline = now + self.limits.idle_timeout_s

    def _head_too_large(self) -> RequestError:
        return HeadersTooLarge(f"request head is over {self.limits.header_bytes} bytes")

    def _refuse(self, error: RequestError) -> None:
        """Answer what the parser refused, as soon as those before it are answered, and close."""
        self._refusal = error
        self._phase = _CLOSED
        if self.busy:
            return
        message = str(error).encode()
        length = b"content-length: %d\r\n" % len(message)
        self.write(head(error.status, [TEXT], self.server.date, _CLOSE, length) + message)
        self._refusal = None
        self._linger()

    def _linger(self) -> None:
        """Close for writing, and give the client a moment to read before the connection goes."""
        self._phase = _CLOSED
        self._waiting.clear()
        if self._transport is None or self._transport.is_closing():
            return
        if self._write_paused or not self._transport.can_write_eof():
            self._transport.close()
            return
        self._transport.resume_reading()
        try:
            self._transport.write_eof()
        except OSError:  # it has reset the connection, which we have yet to hear
            self._transport.abort()
            return
        self.deadline = self._now() + _LINGER_S

    def write(self, data: bytes) -> None:
        """Queue bytes to the client."""
        if self._transport is not None:
            self._transport.write(data)

    def abort(self) -> None:
        """Drop the connection at once."""
        if self._transport is not None:
            self._transport.abort()

    def drain(self) -> None:
        """Make the next answer the last; close at once unless a request is under way or on its way."""
        self.draining = True
        if not self.busy and self._phase is _IDLE:
            self.close()

    def close(self) -> None:
        """Close once everything written has been sent."""
        if self._transport is not None:
            self._transport.close()

    def expire(self) -> None:
        """The deadline passed."""
        self.deadline = 0.0
        if self._phase in (_HEAD, _BODY) and not self.busy and not self._write_paused:
            what = "head" if self._phase is _HEAD else "body"
            self._refuse(RequestTimeout(f"the request's {what} did not arrive in time"))
        else:  # idle, lingering, or not reading its answer
            self.abort()
