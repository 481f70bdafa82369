"""Heads of messages on their way through: what is dropped, what is added (RFC 9110 §7.6.1)."""

from collections.abc import Iterable

from embedfleet.http.message import Header

# Meant for one connection alone; framing and date are written anew.
_HOP = frozenset(
    {
        b"connection",
        b"content-length",
        b"date",
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


def request_head(target: bytes, headers: Iterable[Header], *, size: int, request_id: bytes, peer: str) -> list[bytes]:
    """A request's head for a replica, from the target on, without the host line and the empty line.

    Args:
        target: as the client sent it.
        headers: of the client.
        size: of the body.
        request_id: given on unless the client named one.
        peer: the client's address, appended to ``x-forwarded-for``.
    """
    named = _named_by_connection(headers)
    forwarded = peer.encode("ascii", "replace")
    parts = [target, b" HTTP/1.1\r\n"]
    for name, value in headers:
        if name in _HOP or name in named or name == b"x-request-id":
            continue
        if name == b"x-forwarded-for":
            forwarded = value + b", " + forwarded if forwarded else value
            continue
        parts += (name, b": ", value, b"\r\n")
    parts.append(b"content-length: %d\r\nx-request-id: %b\r\n" % (size, request_id))
    if forwarded:
        parts.append(b"x-forwarded-for: %b\r\n" % forwarded)
    return parts


def reply_headers(headers: Iterable[Header]) -> list[Header]:
    """A replica's fields that go on to the client."""
    named = _named_by_connection(headers)
    return [header for header in headers if header[0] not in _HOP and header[0] not in named]


def _named_by_connection(headers: Iterable[Header]) -> frozenset[bytes]:
    """Fields that a ``connection`` field declares to be for this connection alone."""
    for name, value in headers:
        if name == b"connection":
            options = value.lower()
            if options not in _PLAIN_CONNECTION:
                return frozenset(option.strip() for option in options.split(b","))
    return frozenset()
