"""Heads of messages on their way through: what is dropped, what is added (RFC 9110 §7.6.1)."""

from collections.abc import Iterable

from embedfleet.dialects.coalescing import can_coalesce
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
# Replies are read and joined here: they must come as they are.
_DROPPED = _HOP | {b"accept-encoding"}
_CLASSES = {b"online": True, b"bulk": False}
_TIMEOUT_DIGITS = 9
_PLAIN_CONNECTION = frozenset({b"keep-alive", b"close"})


class RequestFields:
    """What a client's head becomes for a replica, and what it tells the gateway, worked out once per head.

    Attributes:
        method: as sent.
        line: target and fields as they go on the wire, those of the hop left out.
        forwarded: what ``x-forwarded-for`` held already, with a comma; empty if it was not there.
        request_id: the client's, None if it named none.
        path: of the target, percent-decoded, without the query.
        content_type: None if there is none.
        online: what ``x-priority`` says, None if it says nothing.
        gathers: whether its body may be one text that is asked for together with others.
        timeout_s: what ``x-request-timeout-ms`` says, None if it says nothing.
        fault: what is wrong with one of these two; empty if nothing is.
    """

    __slots__ = (
        "content_type", "fault", "forwarded", "gathers", "line", "method", "online", "path", "request_id", "timeout_s"
    )  # fmt: skip

    def __init__(self, method: bytes, target: bytes, path: str, headers: Iterable[Header]) -> None:
        named = _named_by_connection(headers)
        self.method = method
        self.path = path
        self.forwarded = b""
        self.fault = ""
        self.request_id: bytes | None = None
        self.content_type: bytes | None = None
        self.online: bool | None = None
        self.timeout_s: float | None = None
        is_bulk = False
        parts = [b" ", target, b" HTTP/1.1\r\n"]
        for name, value in headers:
            if name == b"x-request-id":
                self.request_id = self.request_id or value
            elif name == b"x-forwarded-for":
                self.forwarded += value + b", "
            elif name not in _DROPPED and name not in named:
                parts += (name, b": ", value, b"\r\n")
            if name == b"content-type":
                self.content_type = self.content_type or value
            elif name == b"x-priority":
                is_bulk = self._read_priority(value) is False
            elif name == b"x-request-timeout-ms":
                self._read_timeout(value)
        self.line = b"".join(parts)
        self.gathers = method == b"POST" and can_coalesce(path, self.content_type) and not is_bulk and not self.fault

    def wire(self, prefix: bytes, last_line: bytes, *, body: bytes, request_id: bytes, peer: bytes) -> bytes:
        """A request as it goes to a replica.

        Args:
            prefix: put before the target.
            last_line: of the head, from the CRLF before it.
            body: of the request.
            request_id: of the request.
            peer: the client's address.
        """
        return b"".join(
            (
                self.method,
                prefix,
                self.line,
                b"content-length: %d\r\nx-request-id: " % len(body),
                request_id,
                b"\r\nx-forwarded-for: ",
                self.forwarded,
                peer,
                last_line,
                body,
            )
        )

    def _read_priority(self, value: bytes) -> bool | None:
        online = self.online = _CLASSES.get(value.strip().lower())
        if online is None:
            self.fault = f"X-Priority is `{value.decode('latin-1')}`, but can only be online or bulk"
        return online

    def _read_timeout(self, value: bytes) -> None:
        if value.isdigit() and len(value) <= _TIMEOUT_DIGITS and int(value) > 0:
            self.timeout_s = int(value) / 1000
        else:
            self.fault = f"X-Request-Timeout-Ms is `{value.decode('latin-1')}`, but has to be a whole number above 0"


def reply_fields(headers: Iterable[Header]) -> bytes:
    """A replica's fields that go on to the client, as they go on the wire."""
    named = _named_by_connection(headers)
    return b"".join(b"%b: %b\r\n" % header for header in headers if header[0] not in _HOP and header[0] not in named)


def _named_by_connection(headers: Iterable[Header]) -> frozenset[bytes]:
    """Fields that ``connection`` declares to be for this connection alone; it may be there more than once."""
    named: frozenset[bytes] = frozenset()
    for name, value in headers:
        if name == b"connection":
            options = value.lower()
            if options not in _PLAIN_CONNECTION:
                named |= frozenset(option.strip() for option in options.split(b","))
    return named
