"""One request and the right to answer it."""

from abc import ABCMeta, abstractmethod
from collections.abc import Callable, Sequence
from urllib.parse import unquote_to_bytes

from mypy_extensions import mypyc_attr

from embedfleet.http.head import RequestHead
from embedfleet.http.message import BODILESS, JOIN_BYTES, Header, head, status_line

_CLOSE = b"connection: close\r\n"
_KEEP_ALIVE = b"connection: keep-alive\r\n"
_CHUNKED = b"transfer-encoding: chunked\r\n"


@mypyc_attr(allow_interpreted_subclasses=True)
class Wire(metaclass=ABCMeta):
    """What an exchange needs of the connection it came by."""

    peer: bytes
    draining: bool  # whether this answer should be the connection's last

    @property
    @abstractmethod
    def date(self) -> bytes:
        """The date field's line, with its CRLF."""

    @abstractmethod
    def write(self, data: bytes) -> None:
        """Queue bytes to the client."""

    @abstractmethod
    def abort(self) -> None:
        """Drop the connection at once."""

    @abstractmethod
    def answered(self, keep_alive: bool) -> None:
        """The exchange under way is complete."""


class Exchange:
    """One complete request, and the right to answer it once.

    Attributes:
        head: parsed; shared with other requests of the same head.
        body: whole, without chunked framing.
        keep_alive: whether the connection is kept after the answer.
        gone: the client left, or its answer is complete; nothing more can be sent.
        on_gone: called once if the client leaves before its answer is complete.
        on_drain: called with False when a streamed answer should pause, with True when it may go on.
    """

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
        """As sent."""
        return self.head.method

    @property
    def target(self) -> bytes:
        """The request target from its path on."""
        return self.head.target

    @property
    def headers(self) -> list[Header]:
        """In order of arrival, names in lower case; ``content-length`` and trailers are dropped."""
        return self.head.headers

    @property
    def path(self) -> str:
        """The target's path, percent-decoded, without the query; ``*`` for the server as a whole."""
        path = self.target.partition(b"?")[0]
        if b"%" in path:
            path = unquote_to_bytes(path)
        return path.decode("utf-8", "replace")

    @property
    def peer(self) -> bytes:
        """The client's address; ``unknown`` over a Unix socket."""
        return self._connection.peer

    @property
    def begun(self) -> bool:
        """Whether the answer's head has been sent."""
        return self._started

    @property
    def is_plain(self) -> bool:
        """Whether a whole answer needs no field ``connection``, and has its body."""
        return self.head.is_plain and not self._connection.draining

    def header(self, name: bytes) -> bytes | None:
        """The first value of a field, or None."""
        return self.head.find(name)

    def respond(self, status: int, headers: Sequence[Header], body: bytes) -> None:
        """Answer whole; ``content-length``, ``date`` and ``connection`` are added here."""
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
        """Answer whole with what is on the wire already, head and framing included; only if it `is_plain`."""
        if self.gone:
            return
        self._started = True
        self._connection.write(data)
        self._end()

    def pass_on(self, status: int, fields: bytes, body: bytes) -> None:
        """Answer whole with fields that are on the wire already, each with its CRLF, framing left out."""
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
        """Begin an answer whose body follows by `write`.

        Args:
            status: of the answer.
            headers: of the answer.
            length: of the body, None if it is not known yet or there is none.
            fields: further fields as they go on the wire; if there are any, they have the date.
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
            self.keep_alive = False  # HTTP/1.0 knows no chunks: the end of the connection is the end of the body
        else:
            self._chunked = True
            lines.append(_CHUNKED)
        self._connection.write(head(status, headers, *lines, *self._connection_line()))

    def write(self, data: bytes) -> None:
        """Send a part of the body."""
        if self.gone or not data or self.method == b"HEAD":
            return
        self._connection.write(b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data)

    def finish(self) -> None:
        """Complete an answer begun by `start`."""
        if self.gone:
            return
        if self._chunked and self.method != b"HEAD":
            self._connection.write(b"0\r\n\r\n")
        self._end()

    def abort(self) -> None:
        """Break the connection: what was begun cannot be completed, and the client must not take it as whole."""
        self._connection.abort()

    def leave(self) -> None:
        """The client left: whoever works on it is told, and then refers to us no more."""
        if self.gone:
            return
        self.gone = True
        on_gone = self.on_gone
        self.on_gone = self.on_drain = None
        if on_gone is not None:
            on_gone()

    def _connection_line(self) -> tuple[bytes, ...]:
        if not self.keep_alive or self._connection.draining:
            self.keep_alive = False
            return (_CLOSE,)
        return (_KEEP_ALIVE,) if self.head.old else ()

    def _end(self) -> None:
        self.gone = True
        self.on_gone = self.on_drain = None  # they mostly refer to what refers to us: else a cycle for the collector
        self._connection.answered(self.keep_alive)
