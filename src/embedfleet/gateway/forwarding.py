"""Heads of messages on their way through: what is dropped, what is added (RFC 9110 §7.6.1)."""

from collections.abc import Iterable

from embedfleet.http.message import Header

# Meant for one connection alone; framing is written anew.
_HOP = frozenset(
    {
        b"connection",
        b"content-length",
        b"expect",
        b"host",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
_PLAIN_CONNECTION = frozenset({b"keep-alive", b"close"})


class RequestFields:
    """What a client's head becomes for a replica, worked out once per head.

    Attributes:
        line: target and fields as they go on the wire, those of the hop left out.
        forwarded: what ``x-forwarded-for`` held already, with a comma; empty if it was not there.
        request_id: the client's, None if it named none.
    """

    __slots__ = ("forwarded", "line", "request_id")

    def __init__(self, target: bytes, headers: Iterable[Header]) -> None:
        named = _named_by_connection(headers)
        self.forwarded = b""
        self.request_id: bytes | None = None
        parts = [b" ", target, b" HTTP/1.1\r\n"]
        for name, value in headers:
            if name == b"x-request-id":
                self.request_id = self.request_id or value
            elif name == b"x-forwarded-for":
                self.forwarded += value + b", "
            elif name not in _HOP and name not in named:
                parts += (name, b": ", value, b"\r\n")
        self.line = b"".join(parts)


def reply_fields(headers: Iterable[Header]) -> bytes:
    """A replica's fields that go on to the client, as they go on the wire."""
    named = _named_by_connection(headers)
    return b"".join(b"%b: %b\r\n" % header for header in headers if header[0] not in _HOP and header[0] not in named)


def _named_by_connection(headers: Iterable[Header]) -> frozenset[bytes]:
    """Fields that a ``connection`` field declares to be for this connection alone."""
    for name, value in headers:
        if name == b"connection":
            options = value.lower()
            if options not in _PLAIN_CONNECTION:
                return frozenset(option.strip() for option in options.split(b","))
    return frozenset()
