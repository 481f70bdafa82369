"""Heads of requests, and a memory of heads that were parsed before.

A connection sends the same head again and again, and all clients of one library send equal heads. So a head is looked
up by its bytes, and parsed only if it is new, which saves much of the CPU time per request. Heads that differ only in
``content-length`` share one entry.
"""

from embedfleet.http.message import Header, Limits, find

# These two limit the memory, whatever clients send.
_LONGEST_BYTES = 2048
_MOST = 1024


class RequestHead:
    """The parsed head of a request.

    Attributes:
        method: Method, as sent.
        target: Path and query, as sent.
        headers: Fields in order of arrival, names in lower case, without ``content-length``.
        keep_alive: Whether the client wants to keep the connection open.
        old: Whether the client speaks HTTP/1.0.
        is_plain: Whether a complete answer needs no ``connection`` field and carries a body.
        is_framed: Whether the head alone tells where the body ends: it has one ``content-length``, or no body. False
            for chunked bodies and for clients that wait for a 100 before they send the body.
        note: Value that a handler derived from the head, kept with it.
    """

    __slots__ = ("headers", "is_framed", "is_plain", "keep_alive", "method", "note", "old", "target")

    def __init__(self) -> None:
        self.method = b""
        self.target = b""
        self.headers: list[Header] = []
        self.keep_alive = True
        self.old = False
        self.is_plain = False
        self.is_framed = False
        self.note: object = None

    def find(self, name: bytes) -> bytes | None:
        """Find the first value of a field; None if it is missing."""
        return find(self.headers, name)


class HeadMemory:
    """A bounded cache of parsed heads, by their bytes.

    Args:
        limits: Limits of the server; a head that exceeds them is never found.
    """

    def __init__(self, limits: Limits) -> None:
        self._longest = min(_LONGEST_BYTES, limits.header_bytes)
        self._body_bytes = limits.body_bytes
        self._exact: dict[bytes, tuple[RequestHead, int]] = {}  # with the length of the body
        self._alike: dict[bytes, RequestHead] = {}  # by the bytes without the value of content-length

    def __len__(self) -> int:
        """Number of heads that were learnt."""
        return len(self._exact)

    def find(self, start: bytes, size: int) -> RequestHead | None:
        """Find the parsed head of some bytes; None if it is unknown or states another body length.

        Args:
            start: Bytes from the request line to before the empty line.
            size: Number of bytes that follow the empty line.
        """
        exact = self._exact.get(start)
        if exact is not None:
            return exact[0] if exact[1] == size else None
        rest, digits = _apart(start)
        head = self._alike.get(rest)
        if head is None or digits != b"%d" % size or size > self._body_bytes or len(start) > self._longest:
            return None
        return head

    def learn(self, start: bytes, head: RequestHead, length: int) -> None:
        """Remember a valid head.

        Args:
            start: Bytes from the request line to before the empty line.
            head: Head that was parsed from them.
            length: Value of ``content-length``; 0 if it is missing.
        """
        if not head.is_framed or len(start) > self._longest or length > self._body_bytes:
            return
        if len(self._exact) >= _MOST:
            self._exact.clear()
            self._alike.clear()
        self._exact[start] = head, length
        rest, digits = _apart(start)
        if digits == b"%d" % length:  # otherwise the field is missing, or spelt in an unusual way
            self._alike[rest] = head


def _apart(start: bytes) -> tuple[bytes, bytes]:
    """Split a head into its other bytes and the value of ``content-length``, which is empty if the field is missing."""
    before, name, value = start.partition(b"\r\nContent-Length: ")
    if not name:
        before, name, value = start.partition(b"\r\ncontent-length: ")
    digits, _, after = value.partition(b"\r\n")
    return b"%b%b\n%b" % (before, name, after), digits
