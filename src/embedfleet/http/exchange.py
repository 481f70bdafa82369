"""Exchanges: one complete request each, which can be answered once."""

from abc import ABCMeta, abstractmethod
from collections.abc import Callable, Sequence
from typing import ClassVar
from urllib.parse import unquote_to_bytes

from mypy_extensions import mypyc_attr

from embedfleet.http.message import BODILESS, JOIN_BYTES, Header, head, status_line
from embedfleet.http.request_head import RequestHead

_CLOSE = b"connection: close\r\n"
_KEEP_ALIVE = b"connection: keep-alive\r\n"
_CHUNKED = b"transfer-encoding: chunked\r\n"


@mypyc_attr(allow_interpreted_subclasses=True)
class Wire(metaclass=ABCMeta):
    """Interface of a client connection for its exchange, to write the answer or to drop the client."""

    peer: bytes
    draining: bool  # whether the connection closes after this answer

    @property
    @abstractmethod
    def date(self) -> bytes:
        """Line of the ``date`` field, with its CRLF."""

    @abstractmethod
    def write(self, data: bytes) -> None:
        """Queue bytes for the client."""

    @abstractmethod
    def abort(self) -> None:
        """Drop the connection at once."""

    @abstractmethod
    def answered(self, keep_alive: bool) -> None:
        """Record that the current exchange is complete."""


class Exchange:
    """One complete request, which can be answered once.

    Attributes:
        head: Parsed head; requests with equal heads share it.
        body: Complete body, without chunked framing.
        keep_alive: Whether the connection stays open after the answer.
        gone: Whether the client left or its answer is complete, so that nothing more can be sent.
        on_gone: Callback for a client that leaves before its answer is complete; called once.
        on_drain: Callback for flow control of a streamed answer: False to pause, True to resume.
    """

    can_stream: ClassVar[bool] = True
    """Whether a large answer may be sent piece by piece."""

    __slots__ = ("_chunked", "_connection", "_started", "body", "gone", "head", "keep_alive", "on_drain", "on_gone")

    def __init__(self, connection: Wire, request: RequestHead, body: bytes) -> None:
        self._connection = connection
        self._started = False
        self._chunked = False
        self.head = request
        self.keep_alive = request.keep_alive
        self.body = body
        self.gone = False
        self.on_gone: Callable[[], None] | None = None
        self.on_drain: Callable[[bool], None] | None = None

    @property
    def method(self) -> bytes:
        """Method, as sent."""
        return self.head.method

    @property
    def target(self) -> bytes:
        """Request target from its path on, as sent."""
        return self.head.target

    @property
    def headers(self) -> list[Header]:
        """Fields in order of arrival, names in lower case, without ``content-length`` and trailers."""
        return self.head.headers

    @property
    def path(self) -> str:
        """Path of the target, percent-decoded, without the query; ``*`` means the server as a whole."""
        path = self.target.partition(b"?")[0]
        if path.find(b"%") >= 0:
            path = unquote_to_bytes(path)
        return path.decode("utf-8", "replace")

    @property
    def peer(self) -> bytes:
        """IP address of the client; ``unknown`` on a Unix socket."""
        return self._connection.peer

    @property
    def date(self) -> bytes:
        """Line of the ``date`` field, with its CRLF."""
        return self._connection.date

    @property
    def begun(self) -> bool:
        """Whether the answer's head has been sent."""
        return self._started

    @property
    def is_plain(self) -> bool:
        """Whether a complete answer needs no ``connection`` field and carries a body."""
        return self.head.is_plain and not self._connection.draining

    def header(self, name: bytes) -> bytes | None:
        """Find the first value of a field; None if it is missing."""
        return self.head.find(name)

    def respond(self, status: int, headers: Sequence[Header], body: bytes) -> None:
        """Send a complete answer; this adds ``content-length``, ``date`` and ``connection``."""
        if self.gone:
            return
        self._started = True
        lines = [self._connection.date, *self._connection_line()]
        if status not in BODILESS:
            lines.append(b"content-length: %d\r\n" % len(body))
        answer = head(status, headers, *lines)
        if self.method == b"HEAD" or status in BODILESS:
            body = b""
        if len(body) <= JOIN_BYTES:
            self._connection.write(answer + body)
        else:
            self._connection.write(answer)
            self._connection.write(body)
        self._end()

    def answer(self, data: bytes) -> None:
        """Send a complete answer from its raw bytes, head included; allowed only if the request `is_plain`."""
        if self.gone:
            return
        self._started = True
        self._connection.write(data)
        self._end()

    def pass_on(self, status: int, fields: bytes, body: bytes) -> None:
        """Send a complete answer with raw fields (each with its CRLF, without framing fields) and a body."""
        if self.gone:
            return
        if not self.is_plain or status in BODILESS or len(body) > JOIN_BYTES:
            self.start(status, [], None if status in BODILESS else len(body), fields)
            self.write(body)
            self.finish()
            return
        length = b"content-length: %d\r\n\r\n" % len(body)
        self.answer(b"".join((status_line(status), fields, length, body)))

    def start(self, status: int, headers: Sequence[Header], length: int | None, fields: bytes = b"") -> None:
        """Begin an answer whose body `write` sends.

        Args:
            status: Status code.
            headers: Header fields.
            length: Length of the body in bytes; None if it is unknown or there is no body.
            fields: Further raw fields, each with its CRLF, among them the date; if empty, only the date is added.
        """
        if self.gone:
            return
        self._started = True
        lines = [fields or self._connection.date]
        if status in BODILESS:
            pass
        elif length is not None:
            lines.append(b"content-length: %d\r\n" % length)
        elif self.head.old:
            self.keep_alive = False  # HTTP/1.0 has no chunks: the end of the connection ends the body
        else:
            self._chunked = True
            lines.append(_CHUNKED)
        self._connection.write(head(status, headers, *lines, *self._connection_line()))

    def write(self, data: bytes) -> None:
        """Send a piece of the body."""
        if self.gone or not data or self.method == b"HEAD":
            return
        self._connection.write(b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data)

    def finish(self) -> None:
        """End an answer that `start` began."""
        if self.gone:
            return
        if self._chunked and self.method != b"HEAD":
            self._connection.write(b"0\r\n\r\n")
        self._end()

    def abort(self) -> None:
        """Reset the connection, so that the client does not take an incomplete answer for a complete one."""
        self._connection.abort()

    def leave(self) -> None:
        """Record that the client left, and call `on_gone`."""
        if self.gone:
            return
        self.gone = True
        on_gone = self.on_gone
        self.on_gone = self.on_drain = None  # they refer to objects that refer back: this breaks the cycle
        if on_gone is not None:
            on_gone()

    def _connection_line(self) -> tuple[bytes, ...]:
        if not self.keep_alive or self._connection.draining:
            self.keep_alive = False
            return (_CLOSE,)
        return (_KEEP_ALIVE,) if self.head.old else ()

    def _end(self) -> None:
        self.gone = True
        self.on_gone = self.on_drain = None  # they refer to objects that refer back: this breaks the cycle
        self._connection.answered(self.keep_alive)
