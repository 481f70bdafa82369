"""A replica's reply as it goes through the gateway: its head read once, its body left alone."""

import re

from embedfleet.gateway.forwarding import reply_fields
from embedfleet.http.message import BODILESS, JOIN_BYTES, Header, find, status_line

_STATUS_LINE = re.compile(rb"HTTP/1\.1 ([2-5]\d\d)(?: |$)")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*(.*?)[ \t]*")
# Heads that are remembered: those of one replica differ in the date and in what a request cost.
_MOST = 512


class ReplyHead:
    """Status and fields of a reply.

    Attributes:
        status: of the reply.
        fields: those that go on to the client, as they go on the wire.
        tokens: what the replica says the request cost, None if it does not.
        length: of the body where the head states it and nothing else frames it, else -1.
        has_request_id: whether the replica named the request.
        has_retry_after: whether it said when to come again.
        opening: the head for a plain client up to the value of ``x-request-id``, the last field; empty if that is not
            all that has to be added, or not all that has to be known.
    """

    __slots__ = ("fields", "has_request_id", "has_retry_after", "length", "opening", "status", "tokens")

    def __init__(self, status: int, headers: list[Header]) -> None:
        self.status = status
        self.fields = reply_fields(headers)
        tokens = find(headers, b"x-compute-tokens")
        self.tokens = int(tokens) if tokens is not None and tokens.isdigit() else None
        self.has_request_id = find(headers, b"x-request-id") is not None
        self.has_retry_after = find(headers, b"retry-after") is not None
        self.length = -1
        self.opening = b""

    def state_length(self, length: int) -> None:
        """The head states the length of the body, and nothing else frames it."""
        self.length = length
        if length <= JOIN_BYTES and not self.has_request_id and (self.status != 429 or self.has_retry_after):
            parts = (status_line(self.status), self.fields, b"content-length: %d\r\nx-request-id: " % length)
            self.opening = b"".join(parts)


def parse_plain(head: bytes) -> ReplyHead | None:
    """The head of a reply of the plainest kind, or None if it is any other, which the parser must read.

    Plain is: HTTP/1.1, a status from 200 whose body is framed by one ``content-length``, and a kept connection.

    Args:
        head: from the status line to before the empty line.
    """
    first, *lines = head.split(b"\r\n")
    match = _STATUS_LINE.match(first)
    if match is None or int(match[1]) in BODILESS:
        return None
    headers: list[Header] = []
    length = b""
    for line in lines:
        field = _FIELD.fullmatch(line)
        if field is None:
            return None
        name, value = field[1].lower(), field[2]
        if name == b"content-length":
            if length or not value.isdigit():
                return None
            length = value
        elif name == b"transfer-encoding" or (name == b"connection" and value.lower() != b"keep-alive"):
            return None
        headers.append((name, value))
    if not length:
        return None
    reply = ReplyHead(int(match[1]), headers)
    reply.state_length(int(length))
    return reply


class ReplyMemory:
    """Plain heads by their bytes, so that one that comes again is not read again."""

    def __init__(self) -> None:
        self._known: dict[bytes, ReplyHead] = {}

    def find(self, head: bytes) -> ReplyHead | None:
        """The head of a plain reply, or None."""
        known = self._known.get(head)
        if known is None:
            known = parse_plain(head)
            if known is not None:
                if len(self._known) >= _MOST:
                    self._known.clear()
                self._known[head] = known
        return known
