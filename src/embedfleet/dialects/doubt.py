"""Inputs of which a model's tokenizer may make no token at all, as far as can be seen without it."""

from collections.abc import Sequence
from typing import Final, NamedTuple
from unicodedata import category

_LOOKED_AT: Final = 256  # characters at the beginning of a text
_INVISIBLE: Final = "CZM"  # categories: control characters, blanks, marks that stand on no letter


class Doubt(NamedTuple):
    """An input of which a tokenizer may make no token.

    Attributes:
        place: in the body.
        text: without a visible character; empty where there are ids.
        ids: of tokens.
    """

    place: str
    text: str
    ids: Sequence[int] = ()


def is_invisible(text: str) -> bool:
    """Whether the beginning of a text has no character that can be seen; not of an empty one, which replicas refuse."""
    if not text or " " < text[0] < "\x7f":
        return False
    return all(category(character)[0] in _INVISIBLE for character in text[:_LOOKED_AT])
