"""The base class for shapes of successful replies, with helpers that the shapes share.

A vector of 1024 numbers is 12 KB of JSON. Parsing and writing it would cost more than all other work of the gateway on
it. So a reply in compact JSON, as serde_json and orjson write it, is split at its brackets and joined as bytes; the
numbers remain as the replica wrote them. A reply in another form (with spaces, or with its fields in another order) is
parsed.

Shapes: TEI 1.9 (router/src/http/types.rs).
"""

from abc import ABCMeta, abstractmethod
from collections.abc import Sequence

import orjson

from embedfleet.dialects.json_body import Json
from embedfleet.errors import Malformed

PartReply = tuple[Sequence[int], bytes]
"""Indices of the texts in a part, in the order of sending, and the body of the reply to the part."""

_LONGEST_QUOTE = 80


class ReplyShape(metaclass=ABCMeta):
    """The shape of a successful reply, which has one answer for each text.

    Attributes:
        is_per_token: Whether an answer grows with the tokens of its text, with a vector or a weight per token.
            Otherwise it has the same size for every text.
    """

    __slots__ = ("is_per_token",)

    def __init__(self, *, is_per_token: bool = False) -> None:
        self.is_per_token = is_per_token

    @abstractmethod
    def check(self, count: int, reply: bytes) -> None:
        """Check that a reply has a complete answer to each of ``count`` texts.

        Raises:
            Malformed: The number of answers differs, an answer is incomplete, or a number is null or NaN.
        """

    @abstractmethod
    def separate(self, reply: bytes, costs: Sequence[int]) -> list[bytes]:
        """Split a reply into one reply per text, each as a replica would have given it to that text alone.

        Args:
            reply: Reply to all texts.
            costs: Estimated tokens of each text. A count that the reply has for all texts together, such as OpenAI's
                usage, is apportioned by them.

        Raises:
            Malformed: The reply would fail `check`.
        """

    @abstractmethod
    def join(self, parts: Sequence[PartReply]) -> bytes:
        """Join the replies to the parts of a request into the reply that one replica would have given.

        Args:
            parts: Parts in any order; each text of the request is in exactly one of them.

        Raises:
            Malformed: One of the replies would fail `check`.
        """


def parse(reply: bytes) -> Json:
    """Parse a reply.

    Raises:
        Malformed: The reply is not JSON, for example because of a NaN.
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
    """Whether a JSON value is a list of at least one number."""
    return isinstance(value, list) and bool(value) and all(map(is_number, value))
