"""Forwarding of message heads: the fields that the gateway drops and adds (RFC 9110 §7.6.1)."""

from collections.abc import Iterable

from embedfleet.dialects.coalescing import can_coalesce
from embedfleet.http.exchange import Exchange
from embedfleet.http.message import Header

# Hop-by-hop fields, and the fields of framing, which is written anew.
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
# The gateway reads and joins replies, so they must not be compressed.
_DROPPED = _HOP | {b"accept-encoding"}
_CLASSES = {b"online": True, b"bulk": False}
_TIMEOUT_DIGITS = 9
_PLAIN_CONNECTION = frozenset({b"keep-alive", b"close"})


class RequestFields:
    """A client's head: the bytes for a replica, and the values that the gateway reads; made once per head.

    Attributes:
        method: Method as sent.
        line: Bytes of target and fields, without the hop-by-hop fields.
        forwarded: Value of ``x-forwarded-for`` with a comma; empty if the client sent none.
        request_id: The client's ``x-request-id``; None if it sent none.
        path: Path of the target, percent-decoded, without the query.
        content_type: Content type; None if there is none.
        is_online: Whether ``x-priority`` asks for the online class; None without that field.
        may_coalesce: Whether the body may be a single text that can be coalesced with others.
        timeout_s: Seconds of ``x-request-timeout-ms``; None without that field.
        scope: What decides a cached answer in the head; None until the cache has looked at it.
        fault: Error in ``x-priority`` or ``x-request-timeout-ms``; empty if there is none.
    """

    __slots__ = (
        "content_type", "fault", "forwarded", "is_online", "line", "may_coalesce", "method", "path", "request_id",
        "scope", "timeout_s",
    )  # fmt: skip

    def __init__(self, method: bytes, target: bytes, path: str, headers: Iterable[Header]) -> None:
        named = _named_by_connection(headers)
        self.method = method
        self.path = path
        self.forwarded = b""
        self.fault = ""
        self.scope: bytes | None = None
        self.request_id: bytes | None = None
        self.content_type: bytes | None = None
        self.is_online: bool | None = None
        self.timeout_s: float | None = None
        is_bulk = False
        parts = [target, b" HTTP/1.1\r\n"]
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
        self.may_coalesce = (
            method == b"POST" and can_coalesce(path, self.content_type) and not is_bulk and not self.fault
        )

    @classmethod
    def of(cls, exchange: Exchange) -> "RequestFields":
        """Return the fields of a request's head, which are read once per head."""
        head = exchange.head
        known = head.note
        if isinstance(known, RequestFields):
            return known
        fields = head.note = cls(head.method, head.target, exchange.path, head.headers)
        return fields

    def wire(self, prefix: bytes, last_line: bytes, *, body: bytes, request_id: bytes, peer: bytes) -> bytes:
        """Return the bytes of a request to a replica.

        Args:
            prefix: Blank after the method, and the path that precedes the target.
            last_line: Last line of the head, from the CRLF before it.
            body: Body of the request.
            request_id: Id of the request.
            peer: Address of the client.
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
        is_online = self.is_online = _CLASSES.get(value.strip().lower())
        if is_online is None:
            self.fault = f"X-Priority is `{value.decode('latin-1')}`, but must be online or bulk"
        return is_online

    def _read_timeout(self, value: bytes) -> None:
        if value.isdigit() and len(value) <= _TIMEOUT_DIGITS and int(value) > 0:
            self.timeout_s = int(value) / 1000
        else:
            self.fault = f"X-Request-Timeout-Ms is `{value.decode('latin-1')}`, but must be a whole number above 0"


def reply_fields(headers: Iterable[Header]) -> bytes:
    """Return the bytes of the fields of a reply that are forwarded to the client."""
    named = _named_by_connection(headers)
    return b"".join(b"%b: %b\r\n" % header for header in headers if header[0] not in _HOP and header[0] not in named)


def _named_by_connection(headers: Iterable[Header]) -> frozenset[bytes]:
    """Return the names that ``connection`` fields list, which are hop-by-hop too."""
    named: frozenset[bytes] = frozenset()
    for name, value in headers:
        if name == b"connection":
            options = value.lower()
            if options not in _PLAIN_CONNECTION:
                named |= frozenset(option.strip() for option in options.split(b","))
    return named
