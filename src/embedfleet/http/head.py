"""Heads of requests, and the memory of those that were parsed before.

A kept connection sends the same head again and again, and clients of one library send the same heads. What the parser
once made of some bytes it would make of them again: so a head is looked up by its bytes first, and parsed only when it
is new. That halves what a request costs here.
"""

from embedfleet.http.message import Header, find

# A head that is remembered is at most this long, and at most this many are: bounded memory, whatever clients send.
_LONGEST_BYTES = 2048
_MOST = 1024


class RequestHead:
    """A request's head, parsed.

    Attributes:
        method: as sent.
        target: as sent.
        headers: in order of arrival, names in lower case.
        keep_alive: whether the client wants the connection kept.
        old: whether the client speaks HTTP/1.0.
        is_plain: whether a whole answer needs no field ``connection``, and has its body.
        length: of the body, from ``content-length``; -1 where only the parser can tell where the body ends.
        note: whatever a handler derives from the head and wants to find again with it.
    """

    __slots__ = ("headers", "is_plain", "keep_alive", "length", "method", "note", "old", "target")

    def __init__(self) -> None:
        self.method = b""
        self.target = b""
        self.headers: list[Header] = []
        self.keep_alive = True
        self.old = False
        self.is_plain = False
        self.length = -1
        self.note: object = None

    def find(self, name: bytes) -> bytes | None:
        """The first value of a field, or None."""
        return find(self.headers, name)


class HeadMemory:
    """Heads by their bytes."""

    def __init__(self) -> None:
        self.known: dict[bytes, RequestHead] = {}

    def learn(self, data: bytes, head: RequestHead) -> None:
        """Remember the head of ``data``, which the parser has found to hold exactly one request with this head."""
        end = data.find(b"\r\n\r\n")
        if head.length < 0 or end > _LONGEST_BYTES or len(data) - end - 4 != head.length:
            return
        if len(self.known) >= _MOST:
            self.known.clear()
        self.known[data[:end]] = head
