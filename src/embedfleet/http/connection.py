"""One client's connection to the server: bytes in, exchanges out, one at a time and in order."""

import asyncio
from abc import ABCMeta, abstractmethod
from collections.abc import Sequence
from enum import Enum, auto
from typing import Final, cast

from mypy_extensions import mypyc_attr

from embedfleet.errors import RequestError, RequestTimeout
from embedfleet.http.exchange import Exchange, Wire
from embedfleet.http.framing import Chunked, Framing, Stated, too_large
from embedfleet.http.grammar import HEAD_END, check_beginning, head_too_large, read_head
from embedfleet.http.head import HeadMemory, RequestHead
from embedfleet.http.message import TEXT, Header, Limits, head
from embedfleet.http.unsent import unsent_bytes

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_CLOSE = b"connection: close\r\n"
_CRLF: Final = b"\r\n"

# What a client may send ahead, while it is owed an answer, before it is no longer read.
_AHEAD_BYTES: Final = 65_536
# A refused client may still be sending: its bytes are read and dropped this long, so that the kernel does not
# answer them with a reset that destroys our reply on its way (RFC 9112 §9.6).
_LINGER_S = 5.0
# Clients beyond the limit that are given that moment too, the latest: each of them has a file.
_TURNED_AWAY: Final = 16
# After this, and then after ever twice as long, a client that said its last word is asked again whether it is there.
_ASK_S = 0.01
_ASK_MOST_S = 1.0
_ANY_BYTES: Final = 1 << 62


@mypyc_attr(allow_interpreted_subclasses=True)
class Host(metaclass=ABCMeta):
    """What a connection needs of its server."""

    loop: asyncio.AbstractEventLoop
    limits: Limits
    refusal_fields: Sequence[Header]  # of every answer to what is no request
    clients: "set[Connection]"
    turned_away: "dict[Connection, None]"
    most_clients: int
    refused: int
    heads: HeadMemory
    date: bytes
    draining: bool
    is_untidy: bool  # a connection ended or carried something large, and may have left memory behind

    @abstractmethod
    def handle(self, exchange: Exchange) -> None:
        """Take a complete request."""

    @abstractmethod
    def settled(self) -> None:
        """An exchange ended or a client left."""


class _Phase(Enum):
    IDLE = auto()  # no byte of a request that is not answered or under way
    HEAD = auto()
    BODY = auto()
    CLOSED = auto()  # nothing more is read; an answer may still be on its way


# A member of an enum costs more to look up than a name.
_IDLE: Final = _Phase.IDLE
_HEAD: Final = _Phase.HEAD
_BODY: Final = _Phase.BODY
_CLOSED: Final = _Phase.CLOSED


@mypyc_attr(allow_interpreted_subclasses=True)
class Connection(Wire):
    """One client. Owns what it has sent and was not taken yet, and the exchange under way.

    Nothing is parsed ahead: what follows a request waits as bytes until that is answered.
    """

    def __init__(self, server: Host) -> None:
        self.server = server
        self.limits = server.limits
        self.deadline = 0.0  # loop time at which `expire` is called; 0 means never
        self.peer = b"unknown"
        self.draining = server.draining
        self._now = server.loop.time
        self._find_head = server.heads.find
        self._transport: asyncio.Transport | None = None
        self._phase = _IDLE
        self._unread = bytearray()
        self._scanned = 0  # of a head that has not come whole
        self._head: RequestHead | None = None  # of the body that is coming
        self._framing: Framing | None = None
        self._current: Exchange | None = None
        self._is_due = False  # `_proceed` will be called
        self._has_ended = False  # the client says nothing more
        self._write_paused = False
        self._read_paused = False
        self._unsent = _ANY_BYTES  # what the client had not taken when that was last looked at

    @property
    def busy(self) -> bool:
        """Whether an exchange is under way or about to be."""
        return self._current is not None or self._is_due

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
        """There are clients enough: say so, and free this one's file soon."""
        self.server.refused += 1
        self._phase = _CLOSED
        wire.write(
            head(503, [TEXT, *self.server.refusal_fields], _CLOSE, b"content-length: 0\r\n", b"retry-after: 1\r\n")
        )
        turned_away = self.server.turned_away
        if len(turned_away) >= _TURNED_AWAY:
            oldest = next(iter(turned_away))
            del turned_away[oldest]
            oldest.close()
        turned_away[self] = None
        self._linger()

    def eof_received(self) -> bool:
        """The client says nothing more: what it has asked for is answered, the rest is dropped, and then we close.

        One that left looks the same from here, until it is sent something: so it is (`_ask`). Where that cannot be, for
        the answer has begun or the client speaks HTTP/1.0, it is taken to have left.
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
        """Bytes that begin a request while nothing else is under way: mostly a whole request with a known head."""
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
        """Hand over the next request, if it has come and its turn has."""
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
        """The request that comes next, once all of it is there."""
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
        """Read a head, if there is a whole one."""
        unread, limits = self._unread, self.limits
        while unread.startswith(_CRLF):  # RFC 9112 §2.2: some clients end a body so
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
        if start.length <= len(unread):  # else it is of no use: what is looked up has come at once
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
        """Let others have their turn first; and a handler that answers at once would recurse otherwise."""
        if not self._is_due:
            self._is_due = True
            self.server.loop.call_soon(self._proceed)

    def _pace_reading(self) -> None:
        """Read no further while a client that is owed an answer has sent a lot ahead."""
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

    def answered(self, keep_alive: bool) -> None:
        """The current exchange is complete."""
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
        """Nothing is under way: go on with what the client has sent, or wait for it."""
        if self._unread or self._has_ended:
            self._proceed_soon()
        else:
            self.deadline = self._now() + self.limits.idle_timeout_s

    def _refuse(self, error: RequestError) -> None:
        """Answer what is no request, and close."""
        message = str(error).encode()
        length = b"content-length: %d\r\n" % len(message)
        self.write(head(error.status, [TEXT, *self.server.refusal_fields], self.server.date, _CLOSE, length) + message)
        self._linger()

    def _linger(self) -> None:
        """Close for writing, and give the client a moment to read before the connection goes."""
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
        except OSError:  # it has reset the connection, which we have yet to hear
            self._transport.abort()
            return
        self._unsent = unsent_bytes(self._transport)
        self.deadline = self._now() + _LINGER_S

    def _drop_unread(self) -> None:
        self._phase = _CLOSED
        self._unread = bytearray()
        self._framing = self._head = None

    def write(self, data: bytes) -> None:
        """Queue bytes to the client."""
        if self._transport is not None:
            self._transport.write(data)
            if self._write_paused:
                self._unsent += len(data)

    def abort(self) -> None:
        """Drop the connection at once."""
        if self._transport is not None:
            self._transport.abort()

    def drain(self) -> None:
        """Make the next answer the last; close at once unless a request is under way or on its way."""
        self.draining = True
        if not self.busy and self._phase is _IDLE and not self._unread:
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
            return
        # Idle, lingering, or not reading its answer: but whoever reads slowly reads.
        if self._transport is None:
            return
        before, self._unsent = self._unsent, unsent_bytes(self._transport)
        if 0 < self._unsent < before:
            self.deadline = self._now() + self.limits.write_timeout_s
        else:
            self.abort()

    # what the client has not taken

    def _watch_writing(self) -> None:
        """It has to take something in time."""
        if self._transport is not None:
            self._unsent = unsent_bytes(self._transport)
        self.deadline = self._now() + self.limits.write_timeout_s

    def _ask(self, wait_s: float) -> None:
        """Find out whether a client that says nothing more is still there.

        An interim answer may be sent at any time (RFC 9110 §15.2). Whoever has closed the connection answers it with a
        reset, which the next one meets with: so it is sent again until there is something else to send.
        """
        current = self._current
        if self._transport is None or self._transport.is_closing() or self._phase is _CLOSED:
            return
        if current is not None and not current.begun and not self._write_paused:
            self.write(_CONTINUE)
        self.server.loop.call_later(wait_s, self._ask, min(2 * wait_s, _ASK_MOST_S))
