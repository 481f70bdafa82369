"""HTTP/1.1 messages as bytes: header lists and the heads of replies."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

Header = tuple[bytes, bytes]
"""A field name in lower case and its value."""

TEXT: Header = (b"content-type", b"text/plain; charset=utf-8")
JSON: Header = (b"content-type", b"application/json")

_STATUS_LINES = {s.value: f"HTTP/1.1 {s.value} {s.phrase}\r\n".encode("ascii") for s in HTTPStatus}

JOIN_BYTES: Final = 65_536
"""Bodies up to this size are joined to the head: one small copy is cheaper than a second write."""

BODILESS: Final = frozenset({204, 304})
"""Statuses whose replies never have a body (RFC 9110 §6.4.1)."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one client may ask of a server.

    Attributes:
        header_bytes: request line and fields together.
        body_bytes: the body, after removal of chunked framing.
        header_timeout_s: from the first byte of a request to the end of its head.
        body_timeout_s: from the end of the head to the end of the body.
        idle_timeout_s: a kept connection with no request under way.
        write_timeout_s: a client that does not read its answer.
        connections: open connections, fewer if open files are; one more is answered 503 and closed.
    """

    header_bytes: int = 32_768
    body_bytes: int = 2_000_000
    header_timeout_s: float = 10.0
    body_timeout_s: float = 60.0
    idle_timeout_s: float = 120.0
    write_timeout_s: float = 60.0
    connections: int = 10_000


def find(headers: Iterable[Header], name: bytes) -> bytes | None:
    """The first value of a field, or None."""
    for key, value in headers:
        if key == name:
            return value
    return None


def status_line(status: int) -> bytes:
    """A reply's first line, with its CRLF."""
    return _STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status


def head(status: int, headers: Sequence[Header], *extra: bytes) -> bytes:
    """A reply's head: status line, fields, lines in ``extra`` (each with its CRLF), empty line."""
    parts = [status_line(status)]
    for name, value in headers:
        parts += (name, b": ", value, b"\r\n")
    parts += extra
    parts.append(b"\r\n")
    return b"".join(parts)
