"""The abstract shape of a successful reply, and what its concrete shapes share.

A vector of 1024 numbers is 12 KB of JSON. To parse it and to write it again costs more than everything else that the
gateway does with it. So a reply in compact JSON, as serde_json and orjson write it, is split at its brackets and joined
again; the numbers stay the bytes that the replica wrote. A reply that is written otherwise (with spaces, or with its
fields in another order) is parsed.

Shapes: TEI 1.9 (router/src/http/types.rs).
"""

from abc import ABCMeta, abstractmethod
from collections.abc import Sequence

import orjson

from embedfleet.dialects.json_body import Json
from embedfleet.errors import Malformed

PartReply = tuple[Sequence[int], bytes]
"""The texts of a request that one replica was sent, by index and in its order, and the body of its reply."""

_LONGEST_QUOTE = 80


class ReplyShape(metaclass=ABCMeta):
    """The shape of a successful reply, which has one answer for each text.

    Attributes:
        is_per_token: Whether an answer grows with the tokens of its text: a vector or a weight for each. Otherwise
            it has the same size for every text.
    """

    __slots__ = ("is_per_token",)

    def __init__(self, *, is_per_token: bool = False) -> None:
        self.is_per_token = is_per_token

    @abstractmethod
    def check(self, count: int, reply: bytes) -> None:
        """Check that a reply holds a whole answer to each of ``count`` texts.

        Raises:
            Malformed: The number of answers differs, an answer is incomplete, or a number is null or NaN.
        """

    @abstractmethod
    def join(self, parts: Sequence[PartReply]) -> bytes:
        """Join the replies to the parts of a request to the reply that one replica would have given.

        Args:
            parts: Each text of the request is in exactly one of them; in any order.

        Raises:
            Malformed: A reply would fail `check`.
        """


def parse(reply: bytes) -> Json:
    """Parse a reply.

    Raises:
        Malformed: It is not JSON; NaN is not JSON.
    """
    try:
        return orjson.loads(reply)
    except orjson.JSONDecodeError as error:
        raise Malformed(f"a reply of {len(reply)} bytes is not JSON: {error}") from None


def mismatch(count: int, reply: bytes) -> Malformed:
    """Make the error for a reply that does not answer ``count`` texts."""
    begins = reply[:_LONGEST_QUOTE].decode("utf-8", "replace")
    return Malformed(f"a reply of {len(reply)} bytes does not answer {count} texts: {begins}")


def is_number(value: Json) -> bool:
    """Whether a JSON value is a number."""
    return type(value) is float or type(value) is int


def is_vector(value: Json) -> bool:
    """Whether a JSON value is a list of numbers, at least one."""
    return isinstance(value, list) and bool(value) and all(map(is_number, value))
