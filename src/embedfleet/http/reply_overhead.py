"""Limits on the parts of a reply outside its body (head, interim replies, chunk framing), which could be endless."""

from typing import Final

REPLY_HEAD_BYTES: Final = 65_536
"""Maximum size of all heads of one reply together, and of the bytes between or after pieces of its body."""

REPLY_FIELDS: Final = 256
"""Maximum fields of all heads and trailers of one reply: many tiny fields take far more memory than their bytes."""

INTERIM_REPLIES: Final = 100
"""Maximum interim replies before a reply (RFC 9110 §15.2); a server may send some while it works for minutes."""

_LEAST_STATUS: Final = 100
_LEAST_FINAL: Final = 200


class Overhead:
    """Counters of one reply's bytes outside its body, updated while a parser reads it.

    Attributes:
        fault: Description of the limit that the reply exceeds; empty if none.
    """

    __slots__ = ("_field_bytes", "_fields", "_has_body", "_interims", "_silent_bytes", "fault")

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Reset the counters for the next reply."""
        self.fault = ""
        self._fields = 0
        self._field_bytes = 0
        self._interims = 0
        self._silent_bytes = 0
        self._has_body = False  # whether the last read had a piece of the body

    def add_read(self, size: int) -> None:
        """Count bytes that the parser has read of a reply that is not complete.

        The parser reports a field only when it is complete, and never the framing between the chunks of a body.
        """
        self._silent_bytes = 0 if self._has_body else self._silent_bytes + size
        self._has_body = False
        if self._silent_bytes > REPLY_HEAD_BYTES:
            self.fault = f"over {REPLY_HEAD_BYTES} bytes without any byte of a body"

    def add_body(self) -> None:
        """Record that the parser has found a piece of the body."""
        self._has_body = True

    def add_field(self, name: bytes, value: bytes) -> None:
        """Count a complete field of a head or of the trailers."""
        self._fields += 1
        self._field_bytes += len(name) + len(value)
        if self._field_bytes > REPLY_HEAD_BYTES:
            self.fault = f"a head of over {REPLY_HEAD_BYTES} bytes"
        elif self._fields > REPLY_FIELDS:
            self.fault = f"a head of over {REPLY_FIELDS} fields"

    def add_head(self, status: int) -> bool:
        """Count a complete head; return whether it belongs to the final reply and not to an interim one."""
        if status >= _LEAST_FINAL:
            return True
        self._interims += 1
        if status < _LEAST_STATUS:
            self.fault = f"status {status} is not an HTTP status"
        elif self._interims > INTERIM_REPLIES:
            self.fault = f"over {INTERIM_REPLIES} interim replies"
        return False
