"""Parts of HTTP/1.1 messages: header fields, heads of replies, and the limits of a server."""

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
"""Size of the largest body that is appended to its head: a small copy costs less than a second write."""

BODILESS: Final = frozenset({204, 304})
"""Statuses whose replies never have a body (RFC 9110 §6.4.1)."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of a server towards its clients.

    Attributes:
        header_bytes: Maximum size of request line and fields together.
        body_bytes: Maximum size of a body, without chunked framing.
        header_timeout_s: Longest time from the first byte of a request to the end of its head.
        body_timeout_s: Longest time from the end of the head to the end of the body.
        idle_timeout_s: Longest time that a connection stays open without a request.
        write_timeout_s: Longest time in which a client reads nothing of its answer.
        connections: Maximum open connections, lowered to fit the limit of open files; more get 503 and are closed.
    """

    header_bytes: int = 32_768
    body_bytes: int = 2_000_000
    header_timeout_s: float = 10.0
    body_timeout_s: float = 60.0
    idle_timeout_s: float = 120.0
    write_timeout_s: float = 60.0
    connections: int = 10_000


def find(headers: Iterable[Header], name: bytes) -> bytes | None:
    """Find the first value of a field; None if it is missing."""
    for key, value in headers:
        if key == name:
            return value
    return None


def status_line(status: int) -> bytes:
    """Make a reply's status line, with its CRLF."""
    return _STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status


def head(status: int, headers: Sequence[Header], *extra: bytes) -> bytes:
    """Make a reply's head: status line, fields, lines of ``extra`` (each with its CRLF), empty line."""
    parts = [status_line(status)]
    for name, value in headers:
        parts += (name, b": ", value, b"\r\n")
    parts += extra
    parts.append(b"\r\n")
    return b"".join(parts)


def last_reply(status: int, headers: Sequence[Header], body: bytes, *extra: bytes) -> bytes:
    """Make a complete reply after which the connection closes; ``extra`` are further lines, each with its CRLF."""
    length = b"content-length: %d\r\n" % len(body)
    return head(status, headers, *extra, b"connection: close\r\n", length) + body
