"""What a reply has besides its body: a server may send that without end, and then no memory is enough for it."""

from typing import Final

REPLY_HEAD_BYTES: Final = 65_536
"""Of all heads of one reply together, and likewise of what stands between two pieces of its body, or behind it."""

REPLY_FIELDS: Final = 256
"""Of all heads of one reply, and of its trailers: a head of many tiny ones takes many times its bytes."""

INTERIM_REPLIES: Final = 100
"""That may precede a reply (RFC 9110 §15.2); one that works for minutes may say so every few seconds."""

_LEAST_STATUS: Final = 100
_LEAST_FINAL: Final = 200


class Overhead:
    """Counts it while a parser reads a reply.

    Attributes:
        fault: what there is too much of; empty while there is not.
    """

    __slots__ = ("_field_bytes", "_fields", "_has_body", "_interims", "_silent_bytes", "fault")

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Another reply begins."""
        self.fault = ""
        self._fields = 0
        self._field_bytes = 0
        self._interims = 0
        self._silent_bytes = 0
        self._has_body = False  # what was read last

    def add_read(self, size: int) -> None:
        """The parser has read so many bytes, and the reply is not whole.

        It hands over a field when that is whole, and what lies between the chunks of a body never.
        """
        self._silent_bytes = 0 if self._has_body else self._silent_bytes + size
        self._has_body = False
        if self._silent_bytes > REPLY_HEAD_BYTES:
            self.fault = f"over {REPLY_HEAD_BYTES} bytes with nothing of a body"

    def add_body(self) -> None:
        """The parser has found a piece of the body."""
        self._has_body = True

    def add_field(self, name: bytes, value: bytes) -> None:
        """A field of a head or of the trailers is whole."""
        self._fields += 1
        self._field_bytes += len(name) + len(value)
        if self._field_bytes > REPLY_HEAD_BYTES:
            self.fault = f"a head of over {REPLY_HEAD_BYTES} bytes"
        elif self._fields > REPLY_FIELDS:
            self.fault = f"a head of over {REPLY_FIELDS} fields"

    def add_head(self, status: int) -> bool:
        """A head is whole; whether it is the reply's own, and not that of an interim one before it."""
        if status >= _LEAST_FINAL:
            return True
        self._interims += 1
        if status < _LEAST_STATUS:
            self.fault = f"status {status} is none"
        elif self._interims > INTERIM_REPLIES:
            self.fault = f"over {INTERIM_REPLIES} interim replies"
        return False
