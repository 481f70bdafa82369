"""The head of a replica's reply, and the memory of heads that were read before."""

import re
from collections.abc import Mapping
from typing import Final

from mypy_extensions import mypyc_attr

from embedfleet.gateway.upstream.forwarding import reply_fields
from embedfleet.http.message import BODILESS, JOIN_BYTES, Header, status_line

_STATUS_LINE: Final = re.compile(rb"HTTP/1\.1 ([2-5]\d\d)(?: |$)")
# Blanks around the value are stripped later: a pattern that excludes them would backtrack at each blank.
_FIELD: Final = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):([^\x00-\x08\x0a-\x1f\x7f]*)")
# Fields that the gateway itself reads; others are only forwarded or dropped.
_READ = frozenset(
    {b"connection", b"content-length", b"retry-after", b"transfer-encoding", b"x-compute-tokens", b"x-request-id"}
)
_ONCE: Final = frozenset({b"connection", b"content-length"})
# Limits of the memory. Heads of one replica differ in the date and in the cost of a request. Heads and lines that are
# longer than usual are not remembered, so that the memory stays small whatever a replica sends.
_MOST: Final = 512
_MOST_BYTES: Final = 4096
_MOST_FIELDS = 8192
_MOST_LINE_BYTES: Final = 256
_MOST_DIGITS: Final = 15  # longer numbers are ignored


class ReplyHead:
    """Status and fields of a reply.

    Args:
        status: Status of the reply.
        fields: Bytes of the fields that are forwarded to the client.
        values: Values by name, at least of the fields that the gateway reads.

    Attributes:
        status: Status of the reply.
        fields: Bytes of the fields that are forwarded to the client.
        tokens: Tokens of the request, as the replica states them; None if it does not.
        length: Bytes of the body if only ``content-length`` frames it, else -1.
        has_request_id: Whether the reply has an ``x-request-id``.
        has_retry_after: Whether the reply has a ``retry-after``.
        opening: Head of the answer to a plain exchange (`Exchange.is_plain`), without the empty line; if the reply has
            no ``x-request-id``, the value of one must follow. Empty if there is no such head.
    """

    __slots__ = ("fields", "has_request_id", "has_retry_after", "length", "opening", "status", "tokens")

    def __init__(self, status: int, fields: bytes, values: Mapping[bytes, bytes]) -> None:
        self.status = status
        self.fields = fields
        tokens = values.get(b"x-compute-tokens", b"")
        self.tokens = int(tokens) if tokens.isdigit() and len(tokens) <= _MOST_DIGITS else None
        self.has_request_id = b"x-request-id" in values
        self.has_retry_after = b"retry-after" in values
        self.length = -1
        self.opening = b""

    @classmethod
    def parsed(cls, status: int, headers: list[Header]) -> "ReplyHead":
        """Make a head from the parsed status and fields of a reply."""
        values = dict(reversed(headers))  # the first value of a repeated field counts
        head = cls(status, reply_fields(headers), values)
        length = values.get(b"content-length")
        if length is not None and len(length) <= _MOST_DIGITS:  # more digits mean leading zeros
            head.length = int(length)
        return head

    @property
    def headers(self) -> list[Header]:
        """Names and values of the fields that are forwarded to the client."""
        pairs = (line.partition(b": ") for line in self.fields.split(b"\r\n") if line)
        return [(name, value) for name, _, value in pairs]

    def state_length(self, length: bytes) -> None:
        """Set the length of the body, which only ``content-length`` frames."""
        self.length = int(length)
        if self.length <= JOIN_BYTES and (self.status != 429 or self.has_retry_after):
            end = b"" if self.has_request_id else b"\r\nx-request-id: "
            self.opening = b"".join((status_line(self.status), self.fields, b"content-length: ", length, end))


@mypyc_attr(native_class=False)
class _Fields(dict[bytes, tuple[bytes, bytes, bytes] | None]):
    """Parsed fields by line: the name if the gateway reads the field, else empty; the value; the forwarded line.

    An invalid line has the entry None. Even heads that never repeat mostly consist of lines seen before.
    """

    def __missing__(self, line: bytes) -> tuple[bytes, bytes, bytes] | None:
        match = _FIELD.fullmatch(line)
        if match is None:
            return None
        name, value = match[1].lower(), match[2].strip(b" \t")
        field = (name if name in _READ else b"", value, reply_fields([(name, value)]))
        if len(line) <= _MOST_LINE_BYTES and name != b"x-request-id":  # a request id does not repeat
            if len(self) >= _MOST_FIELDS:
                self.clear()
            self[line] = field
        return field


class ReplyMemory:
    """Memory of plain heads by their bytes, so that a repeated head is not parsed again.

    A plain head is HTTP/1.1 with a status of at least 200, one ``content-length`` that frames the body, and a
    connection that is kept.
    """

    def __init__(self) -> None:
        self._known: dict[bytes, ReplyHead] = {}
        self._fields = _Fields()

    def find(self, head: bytes) -> ReplyHead | None:
        """Return a plain and short head; None for any other, which the parser must read.

        Args:
            head: Bytes from the status line up to the empty line, exclusive.
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
        values: dict[bytes, bytes] = {}
        passed = []
        for line in lines:
            field = self._fields[line]
            if field is None:
                return None
            name, value, wire = field
            passed.append(wire)
            if name:
                if name in values and name in _ONCE:
                    return None
                values.setdefault(name, value)
        length = values.get(b"content-length", b"")
        if not length.isdigit() or len(length) > _MOST_DIGITS or b"transfer-encoding" in values:
            return None
        if values.get(b"connection", b"keep-alive").lower() != b"keep-alive":
            return None
        reply = ReplyHead(int(match[1]), b"".join(passed), values)
        reply.state_length(length)
        return reply
