"""Framing of a request's body (RFC 9112 §6): by its length, or in chunks (§7.1).

A framing takes its bytes from the front of a connection's unread bytes. It keeps only the payload, however small the
arriving pieces are.
"""

import re
from abc import ABCMeta, abstractmethod
from typing import Final

from mypy_extensions import mypyc_attr
from typing_extensions import override

from embedfleet.errors import BodyTooLarge, HeadersTooLarge, MalformedRequest
from embedfleet.http.head_parser import HEAD_END, read_fields
from embedfleet.http.message import Limits

_CRLF: Final = b"\r\n"
# Size and extensions. Sixteen digits exceed any limit.
_CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,16})((?:[ \t]*;[^\x00-\x08\x0a-\x1f\x7f]*)?)\r\n")
_CHUNK_LINE_BYTES: Final = 4096
# After this many chunks, other clients have their turn.
_CHUNKS: Final = 200


@mypyc_attr(allow_interpreted_subclasses=True)
class Framing(metaclass=ABCMeta):
    """The framing of one body.

    Attributes:
        hungry: Whether the last `take` ran out of bytes; if not, it stopped to give other clients their turn.
    """

    hungry: bool

    @abstractmethod
    def take(self, unread: bytearray) -> bytes | None:
        """Take the bytes of the body; return the body once it is complete, and None before.

        Args:
            unread: Unread bytes of the connection; the body's are removed from its front.

        Raises:
            RequestError: The body is too large or malformed.
        """


class Stated(Framing):
    """The framing of a body whose length the head states, in bytes."""

    def __init__(self, length: int) -> None:
        self.hungry = True
        self._length = length

    @override
    def take(self, unread: bytearray) -> bytes | None:
        if len(unread) < self._length:
            return None
        with memoryview(unread) as view:
            body = bytes(view[: self._length])
        del unread[: self._length]
        return body


class Chunked(Framing):
    """The framing of a body in chunks, and of the trailers after it, which are read and dropped.

    Args:
        limits: Limits of the server: ``body_bytes`` for the payload, ``header_bytes`` for the trailers and for all
            chunk extensions together.
    """

    def __init__(self, limits: Limits) -> None:
        self.hungry = True
        self._limits = limits
        self._payload = bytearray()
        self._left = 0  # bytes of the current chunk that are missing
        self._is_open = False  # whether the current chunk's end of line is missing
        self._extension_bytes = 0
        self._has_all = False  # whether the last chunk has arrived
        self._scanned = 0  # bytes of the trailers that were searched for their end

    @override
    def take(self, unread: bytearray) -> bytes | None:
        at = 0
        self.hungry = False
        if not self._has_all:
            at = self._take_chunks(unread)
        if self._has_all and not self.hungry:
            end = self._end_of_trailers(unread, at)
            if end:
                del unread[:end]
                return bytes(self._payload)
        del unread[:at]
        return None

    def _take_chunks(self, unread: bytearray) -> int:
        """Take the chunks that have arrived; return the index of the first byte after them."""
        at, size = 0, len(unread)
        for _ in range(_CHUNKS):
            if self._is_open:
                at = self._close_chunk(unread, at)
                if self._is_open:
                    self.hungry = True
                    break
            matched = _CHUNK_LINE.match(unread, at)
            if matched is None:
                self._check_line(unread, at)
                self.hungry = True
                break
            at = matched.end()
            self._left = self._chunk_size(matched)
            if self._left == 0:
                self._has_all = True
                break
            end = at + self._left
            if end + 2 <= size and unread.startswith(_CRLF, end):
                self._payload += unread[at:end]
                at = end + 2
            else:
                self._is_open = True
        return at

    def _close_chunk(self, unread: bytearray, at: int) -> int:
        """Take more of an incomplete chunk; return the index of the first byte after it."""
        end = min(at + self._left, len(unread))
        self._payload += unread[at:end]
        self._left -= end - at
        if self._left == 0 and len(unread) >= end + 2:
            if not unread.startswith(_CRLF, end):
                raise MalformedRequest("malformed HTTP request: a chunk is longer than its stated size")
            self._is_open = False
            return end + 2
        return end

    def _chunk_size(self, matched: "re.Match[bytes]") -> int:
        size = int(matched[1], 16)
        self._extension_bytes += len(matched[2])
        if self._extension_bytes > self._limits.header_bytes:
            raise HeadersTooLarge(f"chunk extensions are over {self._limits.header_bytes} bytes")
        if len(self._payload) + size > self._limits.body_bytes:
            raise too_large()
        return size

    def _check_line(self, unread: bytearray, at: int) -> None:
        """Refuse an incomplete line that cannot become the size line of a chunk."""
        line = bytes(unread[at : at + _CHUNK_LINE_BYTES])
        if b"\n" in line or (line and not line[:1].isalnum()):
            raise MalformedRequest(f"malformed HTTP request: chunk {line[:20]!r}")
        if len(line) == _CHUNK_LINE_BYTES:
            raise HeadersTooLarge(f"the size line of a chunk is over {_CHUNK_LINE_BYTES} bytes")

    def _end_of_trailers(self, unread: bytearray, at: int) -> int:
        """Find the index of the first byte after the trailers; 0 if they are not complete."""
        if unread.startswith(_CRLF, at):
            return at + 2
        most = self._limits.header_bytes
        end = unread.find(HEAD_END, at + max(0, self._scanned - 3))
        if (end if end >= 0 else len(unread)) - at > most:
            raise HeadersTooLarge(f"trailers are over {most} bytes")
        if end < 0:
            self._scanned = len(unread) - at
            self.hungry = True
            return 0
        read_fields(bytes(unread[at:end]).split(_CRLF))
        return end + len(HEAD_END)


def too_large() -> BodyTooLarge:
    """Make the error for a body over the limit, in TEI's words."""
    return BodyTooLarge("Failed to buffer the request body: length limit exceeded")
