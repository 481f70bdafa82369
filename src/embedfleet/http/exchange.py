"""One request and the right to answer it."""

from collections.abc import Callable, Sequence
from typing import Protocol
from urllib.parse import unquote_to_bytes

from embedfleet.http.message import BODILESS, Header, find, head

_CLOSE = b"connection: close\r\n"
_KEEP_ALIVE = b"connection: keep-alive\r\n"
_CHUNKED = b"transfer-encoding: chunked\r\n"

# Bodies up to this size are joined to the head: one small copy is cheaper than a second write.
_JOIN_BYTES = 65_536


class Wire(Protocol):
    """What an exchange needs of the connection it came by."""

    peer: str

    @property
    def date(self) -> bytes:
        """The date field's line, with its CRLF."""

    @property
    def draining(self) -> bool:
        """Whether this answer should be the connection's last."""

    def write(self, data: bytes) -> None:
        """Queue bytes to the client."""

    def abort(self) -> None:
        """Drop the connection at once."""

    def answered(self, keep_alive: bool) -> None:
        """The exchange under way is complete."""


class Exchange:
    """One complete request, and the right to answer it once.

    Attributes:
        method: as sent.
        target: the request target as sent.
        headers: in order of arrival, names in lower case; trailers are dropped.
        body: whole, without chunked framing.
        keep_alive: whether the client wants the connection kept after the answer.
        old: whether the client speaks HTTP/1.0.
        gone: the client left, or its answer is complete; nothing more can be sent.
        on_gone: called once if the client leaves before its answer is complete.
        on_drain: called with False when a streamed answer should pause, with True when it may go on.
    """

    __slots__ = (
        "_chunked",
        "_connection",
        "_started",
        "body",
        "gone",
        "headers",
        "keep_alive",
        "method",
        "old",
        "on_drain",
        "on_gone",
        "target",
    )

    def __init__(self, connection: Wire, target: bytes) -> None:
        self._connection = connection
        self._started = False
        self._chunked = False
        self.keep_alive = True
        self.old = False
        self.method = b""
        self.target = target
        self.headers: list[Header] = []
        self.body = b""
        self.gone = False
        self.on_gone: Callable[[], None] | None = None
        self.on_drain: Callable[[bool], None] | None = None

    @property
    def path(self) -> str:
        """The target's path, percent-decoded, without the query."""
        path = self.target.partition(b"?")[0]
        if not path.startswith(b"/"):  # absolute-form, RFC 9112 §3.2.2
            path = b"/" + path.partition(b"://")[2].partition(b"/")[2]
        if b"%" in path:
            path = unquote_to_bytes(path)
        return path.decode("utf-8", "replace")

    @property
    def peer(self) -> str:
        """The client's address, empty over a Unix socket."""
        return self._connection.peer

    @property
    def begun(self) -> bool:
        """Whether the answer's head has been sent."""
        return self._started

    def header(self, name: bytes) -> bytes | None:
        """The first value of a field, or None."""
        return find(self.headers, name)

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
        if len(body) <= _JOIN_BYTES:
            self._connection.write(answer + body)
        else:
            self._connection.write(answer)
            self._connection.write(body)
        self._end()

    def start(self, status: int, headers: Sequence[Header], length: int | None) -> None:
        """Begin an answer whose body follows by `write`; a length of None means it is not known yet."""
        if self.gone:
            return
        self._started = True
        lines = [self._connection.date]
        if length is not None:
            lines.append(b"content-length: %d\r\n" % length)
        elif self.old:
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

    def _connection_line(self) -> tuple[bytes, ...]:
        if not self.keep_alive or self._connection.draining:
            self.keep_alive = False
            return (_CLOSE,)
        return (_KEEP_ALIVE,) if self.old else ()

    def _end(self) -> None:
        self.gone = True
        self._connection.answered(self.keep_alive)
