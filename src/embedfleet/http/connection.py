"""One client's connection to the server, which turns bytes into exchanges, one at a time and in order."""

import asyncio
from abc import ABCMeta, abstractmethod
from collections.abc import Sequence
from enum import Enum, auto
from typing import Final, cast

from mypy_extensions import mypyc_attr
from typing_extensions import override

from embedfleet.errors import RequestError, RequestTimeout
from embedfleet.http.exchange import Exchange, Wire
from embedfleet.http.framing import Chunked, Framing, Stated, too_large
from embedfleet.http.head_parser import HEAD_END, check_beginning, head_too_large, read_head
from embedfleet.http.message import TEXT, Header, Limits, last_reply
from embedfleet.http.request_head import HeadMemory, RequestHead
from embedfleet.http.unsent_bytes import unsent_bytes

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_CRLF: Final = b"\r\n"

# Most bytes that a client may send ahead while it waits for an answer; then the server stops reading.
_AHEAD_BYTES: Final = 65_536
# A refused client may still be sending. The server reads and drops its bytes for this long; otherwise the kernel would
# answer them with a reset, which destroys the reply on its way (RFC 9112 §9.6).
_LINGER_S = 5.0
# At most this many clients beyond the connection limit, the latest ones, get this time too; each holds an open file.
_TURNED_AWAY: Final = 16
# First wait before a check of a client that has closed its sending side; it doubles with each check.
_ASK_S = 0.01
_ASK_MOST_S = 1.0
_ANY_BYTES: Final = 1 << 62


@mypyc_attr(allow_interpreted_subclasses=True)
class Host(metaclass=ABCMeta):
    """Interface of the server for its connections."""

    loop: asyncio.AbstractEventLoop
    limits: Limits
    refusal_fields: Sequence[Header]  # fields of the answers to anything that is not a valid request
    clients: "set[Connection]"
    turned_away: "dict[Connection, None]"
    most_clients: int
    refused: int
    heads: HeadMemory
    date: bytes
    draining: bool
    is_untidy: bool  # whether a connection ended or carried much data, so that freed memory can be returned

    @abstractmethod
    def handle(self, exchange: Exchange) -> None:
        """Answer a complete request, now or later."""

    @abstractmethod
    def settled(self) -> None:
        """Record that an exchange ended or a client left."""


class _Phase(Enum):
    IDLE = auto()  # no unread byte of a request
    HEAD = auto()
    BODY = auto()
    CLOSED = auto()  # reads nothing more; an answer may still be on its way


# Looking up a member of an enum costs more than looking up a name.
_IDLE: Final = _Phase.IDLE
_HEAD: Final = _Phase.HEAD
_BODY: Final = _Phase.BODY
_CLOSED: Final = _Phase.CLOSED


@mypyc_attr(allow_interpreted_subclasses=True)
class Connection(Wire):
    """One client's connection, with its unread bytes and its current exchange.

    It parses nothing ahead: bytes after a request wait until that request is answered.
    """

    def __init__(self, server: Host) -> None:
        self.server = server
        self.limits = server.limits
        self.deadline = 0.0  # loop time at which the server calls `expire`; 0 means never
        self.peer = b"unknown"
        self.draining = server.draining
        self._now = server.loop.time
        self._find_head = server.heads.find
        self._transport: asyncio.Transport | None = None
        self._phase = _IDLE
        self._unread = bytearray()
        self._scanned = 0  # bytes of an incomplete head that were searched for its end
        self._head: RequestHead | None = None  # head of the request whose body is arriving
        self._framing: Framing | None = None
        self._current: Exchange | None = None
        self._is_due = False  # whether the loop will call `_proceed`
        self._has_ended = False  # whether the client has closed its sending side
        self._write_paused = False
        self._read_paused = False
        self._unsent = _ANY_BYTES  # bytes that the client had not received at the last check

    @property
    def busy(self) -> bool:
        """Whether an exchange is in progress or about to begin."""
        return self._current is not None or self._is_due

    @property
    @override
    def date(self) -> bytes:
        return self.server.date

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        wire = cast("asyncio.Transport", transport)  # uvloop's transports are not a subclass
        self._transport = wire
        name = wire.get_extra_info("peername")
        if isinstance(name, tuple):
            self.peer = str(name[0]).encode("ascii", "replace")
        if len(self.server.clients) >= self.server.most_clients:
            self._turn_away(wire)
            return
        self.server.clients.add(self)
        self.deadline = self._now() + self.limits.header_timeout_s

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self._drop_unread()
        self._transport = None
        self.server.clients.discard(self)
        self.server.turned_away.pop(self, None)
        self.server.is_untidy = True
        current, self._current = self._current, None
        if current is not None:
            current.leave()
        self.server.settled()

    def _turn_away(self, wire: asyncio.Transport) -> None:
        """Answer 503 to a client beyond the connection limit, and close its connection soon."""
        self.server.refused += 1
        self._phase = _CLOSED
        wire.write(last_reply(503, [TEXT, *self.server.refusal_fields], b"", b"retry-after: 1\r\n"))
        turned_away = self.server.turned_away
        if len(turned_away) >= _TURNED_AWAY:
            oldest = next(iter(turned_away))
            del turned_away[oldest]
            oldest.close()
        turned_away[self] = None
        self._linger()

    def eof_received(self) -> bool:
        """Answer the pending request of a client that closed its sending side, then close.

        A client that left looks the same until something is sent to it, so `_ask` sends something. That is impossible
        once the answer has begun, or in HTTP/1.0; then the client is assumed to have left.
        """
        current = self._current
        if self._phase is _CLOSED or not (self.busy or (self._write_paused and self._unread)):
            return False
        if current is not None and (current.begun or current.head.old):
            return False
        self._has_ended = True
        self._ask(_ASK_S)
        return True

    def data_received(self, data: bytes) -> None:
        if self._phase is _IDLE and self._current is None and not self._write_paused and not self._is_due:
            self._receive_one(data)
        elif self._phase is not _CLOSED:
            self._unread += data
            self._proceed()

    def _receive_one(self, data: bytes) -> None:
        """Read the first bytes of a request on an idle connection; mostly, a complete request with a known head."""
        start, end, body = data.partition(HEAD_END)
        known = self._find_head(start, len(body))
        if known is not None and end:
            self.deadline = 0.0
            self._current = exchange = Exchange(self, known, body)
            self.server.handle(exchange)
            return
        self._unread += data
        self._proceed()

    def pause_writing(self) -> None:
        self._write_paused = True
        self.server.is_untidy = True
        self._watch_writing()
        if self._current is not None and self._current.on_drain is not None:
            self._current.on_drain(False)

    def resume_writing(self) -> None:
        self._write_paused = False
        if self._phase is _CLOSED:
            self._watch_writing()
            return
        self.deadline = 0.0
        if self._current is None:
            self._rest()
        elif self._current.on_drain is not None:
            self._current.on_drain(True)

    # from bytes to exchanges

    def _proceed(self) -> None:
        """Hand over the next request if it is complete and the previous one is answered."""
        self._is_due = False
        if self._current is None and not self._write_paused and self._phase is not _CLOSED:
            try:
                exchange = self._next()
            except RequestError as error:
                self._refuse(error)
                return
            if exchange is not None:
                self.deadline = 0.0
                self._current = exchange
                self.server.handle(exchange)
            elif self._has_ended and not self._is_due:
                self._linger()
            if self.draining:
                self.server.settled()
        self._pace_reading()

    def _next(self) -> Exchange | None:
        """Read the next request; None until it is complete."""
        if self._framing is None and not self._begin():
            return None
        framing, request = self._framing, self._head
        assert framing is not None, "a body has begun"
        assert request is not None, "a body has a head"
        body = framing.take(self._unread)
        if body is None:
            if not framing.hungry:
                self._proceed_soon()
            return None
        self._phase, self._framing, self._head = _IDLE, None, None
        return Exchange(self, request, body)

    def _begin(self) -> bool:
        """Read the next head; return whether it was complete."""
        unread, limits = self._unread, self.limits
        while unread.startswith(_CRLF):  # RFC 9112 §2.2: some clients send a CRLF after a body
            del unread[:2]
        if not unread:
            self._phase = _IDLE
            return False
        end = unread.find(HEAD_END, max(0, self._scanned - len(HEAD_END) + 1))
        if end < 0:
            check_beginning(unread, self._scanned, limits.header_bytes)
            self._scanned = len(unread)
            if self._phase is _IDLE:
                self._phase = _HEAD
                self.deadline = self._now() + limits.header_timeout_s
            return False
        if end > limits.header_bytes:
            raise head_too_large(unread, limits.header_bytes)
        data = bytes(unread[:end])
        del unread[: end + len(HEAD_END)]
        self._scanned = 0
        start = read_head(data)
        if start.length > limits.body_bytes:
            raise too_large()
        if start.length <= len(unread):  # the memory is used only for requests that arrive in one piece
            self.server.heads.learn(data, start.head, start.length)
        else:
            self.server.is_untidy = True
        self._phase, self._head = _BODY, start.head
        self._framing = Chunked(limits) if start.length < 0 else Stated(start.length)
        self.deadline = self._now() + limits.body_timeout_s
        if start.expects_continue:
            self.write(_CONTINUE)
        return True

    def _proceed_soon(self) -> None:
        """Proceed in the loop's next turn, so that other clients come first, and a fast handler cannot recurse."""
        if not self._is_due:
            self._is_due = True
            self.server.loop.call_soon(self._proceed)

    def _pace_reading(self) -> None:
        """Pause reading from a client that waits for an answer and has sent much ahead; resume it afterwards."""
        waits = self._current is not None or self._is_due or self._write_paused
        pause = waits and len(self._unread) >= _AHEAD_BYTES
        if pause is self._read_paused or self._transport is None or self._transport.is_closing() or self._has_ended:
            return
        self._read_paused = pause
        if pause:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    # the life of an exchange

    @override
    def answered(self, keep_alive: bool) -> None:
        self._current = None
        if self._transport is None:
            return
        if not keep_alive:
            self._linger()
        elif not self._write_paused:
            self._rest()
        if self.draining:
            self.server.settled()

    def _rest(self) -> None:
        """Continue with the client's next bytes after an answer, or wait for them."""
        if self._unread or self._has_ended:
            self._proceed_soon()
        else:
            self.deadline = self._now() + self.limits.idle_timeout_s

    def _refuse(self, error: RequestError) -> None:
        """Answer an invalid request with its error, and close."""
        fields = [TEXT, *self.server.refusal_fields]
        self.write(last_reply(error.status, fields, str(error).encode(), self.server.date))
        self._linger()

    def _linger(self) -> None:
        """Close the sending side, and leave the client time to read the answer before the connection closes."""
        self._drop_unread()
        if self._transport is None or self._transport.is_closing():
            return
        if self._write_paused or self._has_ended or not self._transport.can_write_eof():
            self._watch_writing()
            self._transport.close()
            return
        self._transport.resume_reading()
        try:
            self._transport.write_eof()
        except OSError:  # the client has reset the connection, and the loop has not reported it yet
            self._transport.abort()
            return
        self._unsent = unsent_bytes(self._transport)
        self.deadline = self._now() + _LINGER_S

    def _drop_unread(self) -> None:
        self._phase = _CLOSED
        self._unread = bytearray()
        self._framing = self._head = None

    @override
    def write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)
            if self._write_paused:
                self._unsent += len(data)

    @override
    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def drain(self) -> None:
        """Close the connection after its next answer, or at once if it is idle."""
        self.draining = True
        if not self.busy and self._phase is _IDLE and not self._unread:
            self.close()

    def close(self) -> None:
        """Close the connection once all written data is sent."""
        if self._transport is not None:
            self._transport.close()

    def expire(self) -> None:
        """Act on the passed deadline: refuse a late request, or drop a client that idles or does not read."""
        self.deadline = 0.0
        if self._phase in (_HEAD, _BODY) and not self.busy and not self._write_paused:
            what = "head" if self._phase is _HEAD else "body"
            self._refuse(RequestTimeout(f"the request's {what} did not arrive in time"))
            return
        # The client is idle, lingering, or does not read its answer. One that reads slowly gets more time.
        if self._transport is None:
            return
        before, self._unsent = self._unsent, unsent_bytes(self._transport)
        if 0 < self._unsent < before:
            self.deadline = self._now() + self.limits.write_timeout_s
        else:
            self.abort()

    # data that the client has not received

    def _watch_writing(self) -> None:
        """Set the deadline by which the client must have received something."""
        if self._transport is not None:
            self._unsent = unsent_bytes(self._transport)
        self.deadline = self._now() + self.limits.write_timeout_s

    def _ask(self, wait_s: float) -> None:
        """Send interim replies to find out whether a client that closed its sending side is still there.

        Interim replies are allowed at any time (RFC 9110 §15.2). The host of a client that has left answers the first
        one with a reset, so that writing the next one fails. So they are repeated until the answer begins.
        """
        current = self._current
        if self._transport is None or self._transport.is_closing() or self._phase is _CLOSED:
            return
        if current is not None and not current.begun and not self._write_paused:
            self.write(_CONTINUE)
        self.server.loop.call_later(wait_s, self._ask, min(2 * wait_s, _ASK_MOST_S))
