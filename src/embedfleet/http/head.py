"""Heads of requests, and the memory of those that were parsed before.

A kept connection sends the same head again and again, and clients of one library send the same heads. What the parser
once made of some bytes it would make of them again: so a head is looked up by its bytes first, and parsed only when it
is new. That halves what a request costs here. Heads that differ in nothing but the stated length of the body are one.
"""

from embedfleet.http.message import Header, Limits, find

# A head that is remembered is at most this long, and at most this many are: bounded memory, whatever clients send.
_LONGEST_BYTES = 2048
_MOST = 1024


class RequestHead:
    """A request's head, parsed.

    Attributes:
        method: as sent.
        target: as sent, from the path on.
        headers: in order of arrival, names in lower case; without ``content-length``, which the body itself tells.
        keep_alive: whether the client wants the connection kept.
        old: whether the client speaks HTTP/1.0.
        is_plain: whether a whole answer needs no field ``connection``, and has its body.
        is_framed: whether the body is as long as the one ``content-length`` says, or there is neither; if not, then
            the head alone does not tell where the body ends, or the client waits for a word before it sends it.
        note: whatever a handler derives from the head and wants to find again with it.
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
        """The first value of a field, or None."""
        return find(self.headers, name)


class HeadMemory:
    """Heads by their bytes.

    Args:
        limits: of the server; what they forbid is never found here.
    """

    def __init__(self, limits: Limits) -> None:
        self._longest = min(_LONGEST_BYTES, limits.header_bytes)
        self._body_bytes = limits.body_bytes
        self._exact: dict[bytes, tuple[RequestHead, int]] = {}  # and the length of the body
        self._alike: dict[bytes, RequestHead] = {}  # by what is left without the length

    def __len__(self) -> int:
        """How many were learnt."""
        return len(self._exact)

    def find(self, start: bytes, size: int) -> RequestHead | None:
        """The head that ``start`` is, if it is known and states a body of ``size`` bytes; else None.

        Args:
            start: from the request line to before the empty line.
            size: of all that follows the empty line.
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
        """Remember a head that was found to be sound.

        Args:
            start: from the request line to before the empty line.
            head: made of it.
            length: what ``content-length`` says, 0 if it is not there.
        """
        if not head.is_framed or len(start) > self._longest or length > self._body_bytes:
            return
        if len(self._exact) >= _MOST:
            self._exact.clear()
            self._alike.clear()
        self._exact[start] = head, length
        rest, digits = _apart(start)
        if digits == b"%d" % length:  # else it is not there, or spelt in a way of its own
            self._alike[rest] = head


def _apart(start: bytes) -> tuple[bytes, bytes]:
    """A head without the value of ``content-length``, and that value; all of it and nothing if it is not there."""
    before, name, value = start.partition(b"\r\nContent-Length: ")
    if not name:
        before, name, value = start.partition(b"\r\ncontent-length: ")
    digits, _, after = value.partition(b"\r\n")
    return b"%b%b\n%b" % (before, name, after), digits
