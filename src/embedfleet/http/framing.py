"""How a request's body is told from what follows it (RFC 9112 §6): by its length, or in chunks (§7.1).

Bytes are taken from the front of what a connection has not read yet. What is kept meanwhile is the payload, however
small the pieces are in which it comes.
"""

import re
from abc import ABCMeta, abstractmethod
from typing import Final

from mypy_extensions import mypyc_attr

from embedfleet.errors import BodyTooLarge, HeadersTooLarge, MalformedRequest
from embedfleet.http.grammar import HEAD_END, read_fields
from embedfleet.http.message import Limits

_CRLF: Final = b"\r\n"
# Size and extensions. Sixteen digits are more than any limit.
_CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,16})((?:[ \t]*;[^\x00-\x08\x0a-\x1f\x7f]*)?)\r\n")
_CHUNK_LINE_BYTES: Final = 4096
# After so many chunks others have their turn: about a fifth of a millisecond.
_CHUNKS: Final = 200


@mypyc_attr(allow_interpreted_subclasses=True)
class Framing(metaclass=ABCMeta):
    """Of one body.

    Attributes:
        hungry: whether `take` found too little; if not, then it stopped so that others have their turn.
    """

    hungry: bool

    @abstractmethod
    def take(self, unread: bytearray) -> bytes | None:
        """The body, once all of it is there; else None.

        Args:
            unread: what has come and was not taken yet; what is the body's is taken from its front.

        Raises:
            RequestError: it is too large, or no body.
        """


class Stated(Framing):
    """A body of a length that its head states, in bytes."""

    def __init__(self, length: int) -> None:
        self.hungry = True
        self._length = length

    def take(self, unread: bytearray) -> bytes | None:
        """See `Framing`."""
        if len(unread) < self._length:
            return None
        with memoryview(unread) as view:
            body = bytes(view[: self._length])
        del unread[: self._length]
        return body


class Chunked(Framing):
    """A body in chunks, and the trailers behind it, which are read and dropped.

    Args:
        limits: body_bytes for the payload, header_bytes for the trailers and for all extensions together.
    """

    def __init__(self, limits: Limits) -> None:
        self.hungry = True
        self._limits = limits
        self._payload = bytearray()
        self._left = 0  # of the chunk under way
        self._is_open = False  # its end of line is still to come
        self._extension_bytes = 0
        self._has_all = False  # the last chunk is there
        self._scanned = 0  # of the trailers

    def take(self, unread: bytearray) -> bytes | None:
        """See `Framing`."""
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
        """Where what is left begins."""
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
        """Take what there is of a chunk that did not come whole; where what is left begins."""
        end = min(at + self._left, len(unread))
        self._payload += unread[at:end]
        self._left -= end - at
        if self._left == 0 and len(unread) >= end + 2:
            if not unread.startswith(_CRLF, end):
                raise MalformedRequest("malformed HTTP request: a chunk is longer than it says")
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
        """Refuse a line that cannot become that of a chunk."""
        line = bytes(unread[at : at + _CHUNK_LINE_BYTES])
        if b"\n" in line or (line and not line[:1].isalnum()):
            raise MalformedRequest(f"malformed HTTP request: chunk {line[:20]!r}")
        if len(line) == _CHUNK_LINE_BYTES:
            raise HeadersTooLarge(f"the line of a chunk is over {_CHUNK_LINE_BYTES} bytes")

    def _end_of_trailers(self, unread: bytearray, at: int) -> int:
        """Where what follows the whole body begins; 0 if it has not come yet."""
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
    """The error for a body over the limit, in TEI's words."""
    return BodyTooLarge("Failed to buffer the request body: length limit exceeded")
