"""A replica's reply as it goes through the gateway: its head read once, its body left alone."""

import re
from collections.abc import Mapping
from typing import Final

from mypy_extensions import mypyc_attr

from embedfleet.gateway.upstream.forwarding import reply_fields
from embedfleet.http.message import BODILESS, JOIN_BYTES, Header, status_line

_STATUS_LINE: Final = re.compile(rb"HTTP/1\.1 ([2-5]\d\d)(?: |$)")
# Blanks around the value are cut off elsewhere: a pattern that leaves them out tries each of them as the last.
_FIELD: Final = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):([^\x00-\x08\x0a-\x1f\x7f]*)")
# What the gateway itself has to know; all other fields just pass, or not.
_TELLING = frozenset(
    {b"connection", b"content-length", b"retry-after", b"transfer-encoding", b"x-compute-tokens", b"x-request-id"}
)
_ONCE: Final = frozenset({b"connection", b"content-length"})
# Heads that are remembered: those of one replica differ in the date and in what a request cost. Longer ones than
# any that we know are not, nor are such lines: what is kept of a replica has to stay small, whatever it sends.
_MOST: Final = 512
_MOST_BYTES: Final = 4096
_MOST_FIELDS = 8192
_MOST_LINE_BYTES: Final = 256
_MOST_DIGITS: Final = 15  # of a number that counts


class ReplyHead:
    """Status and fields of a reply.

    Args:
        status: of the reply.
        fields: those that go on to the client, as they go on the wire.
        told: at least the values of the telling fields that it has, by name.

    Attributes:
        status: see above.
        fields: see above.
        tokens: what the replica says the request cost, None if it does not.
        length: of the body where the head states it and nothing else frames it, else -1.
        has_request_id: whether the replica named the request.
        has_retry_after: whether it said when to come again.
        opening: the head for a plain client without the empty line; where the replica has not named the request, the
            name is to follow. Empty if the reply is not as simple as that.
    """

    __slots__ = ("fields", "has_request_id", "has_retry_after", "length", "opening", "status", "tokens")

    def __init__(self, status: int, fields: bytes, told: Mapping[bytes, bytes]) -> None:
        self.status = status
        self.fields = fields
        tokens = told.get(b"x-compute-tokens", b"")
        self.tokens = int(tokens) if tokens.isdigit() and len(tokens) <= _MOST_DIGITS else None
        self.has_request_id = b"x-request-id" in told
        self.has_retry_after = b"retry-after" in told
        self.length = -1
        self.opening = b""

    @classmethod
    def parsed(cls, status: int, headers: list[Header]) -> "ReplyHead":
        """Of a reply that the parser has read."""
        told = dict(reversed(headers))  # of fields that come twice the first counts
        head = cls(status, reply_fields(headers), told)
        length = told.get(b"content-length")
        if length is not None and len(length) <= _MOST_DIGITS:  # else by zeros in front
            head.length = int(length)
        return head

    @property
    def headers(self) -> list[Header]:
        """The fields that go on to the client, one by one."""
        pairs = (line.partition(b": ") for line in self.fields.split(b"\r\n") if line)
        return [(name, value) for name, _, value in pairs]

    def state_length(self, length: bytes) -> None:
        """The head states the length of the body, and nothing else frames it."""
        self.length = int(length)
        if self.length <= JOIN_BYTES and (self.status != 429 or self.has_retry_after):
            end = b"" if self.has_request_id else b"\r\nx-request-id: "
            self.opening = b"".join((status_line(self.status), self.fields, b"content-length: ", length, end))


@mypyc_attr(native_class=False)
class _Fields(dict[bytes, tuple[bytes, bytes, bytes] | None]):
    """Line → its name if it is telling, else nothing; its value; what goes on of it. None if it is no field.

    Even of heads that are never the same, most lines have been seen before.
    """

    def __missing__(self, line: bytes) -> tuple[bytes, bytes, bytes] | None:
        match = _FIELD.fullmatch(line)
        if match is None:
            return None
        name, value = match[1].lower(), match[2].strip(b" \t")
        field = (name if name in _TELLING else b"", value, reply_fields([(name, value)]))
        if len(line) <= _MOST_LINE_BYTES and name != b"x-request-id":  # which never comes again
            if len(self) >= _MOST_FIELDS:
                self.clear()
            self[line] = field
        return field


class ReplyMemory:
    """Plain heads by their bytes, so that one that comes again is not read again.

    Plain is: HTTP/1.1, a status from 200 whose body is framed by one ``content-length``, and a kept connection.
    """

    def __init__(self) -> None:
        self._known: dict[bytes, ReplyHead] = {}
        self._fields = _Fields()

    def find(self, head: bytes) -> ReplyHead | None:
        """The head of a plain and short reply, or None if it is any other, which the parser must read.

        Args:
            head: from the status line to before the empty line.
        """
        known = self._known.get(head)
        if known is None and len(head) <= _MOST_BYTES:
            known = self._read(head)
            if known is not None:
                if len(self._known) >= _MOST:
                    self._known.clear()
                self._known[head] = known
        return known

    def _read(self, head: bytes) -> ReplyHead | None:
        first, *lines = head.split(b"\r\n")
        match = _STATUS_LINE.match(first)
        if match is None or int(match[1]) in BODILESS:
            return None
        told: dict[bytes, bytes] = {}
        passed = []
        for line in lines:
            field = self._fields[line]
            if field is None:
                return None
            name, value, wire = field
            passed.append(wire)
            if name:
                if name in told and name in _ONCE:
                    return None
                told.setdefault(name, value)
        length = told.get(b"content-length", b"")
        if not length.isdigit() or len(length) > _MOST_DIGITS or b"transfer-encoding" in told:
            return None
        if told.get(b"connection", b"keep-alive").lower() != b"keep-alive":
            return None
        reply = ReplyHead(int(match[1]), b"".join(passed), told)
        reply.state_length(length)
        return reply
