"""Inputs of which a model's tokenizer may make no token at all, as far as can be seen without it."""

import re
from collections.abc import Sequence
from typing import Final, NamedTuple
from unicodedata import category

_UNSEEN: Final = "CZM"  # categories: control characters, blanks, marks that stand on no letter
# Most of what has these categories; a search for something else is quick, however long the text.
_BLANK: Final = r"\s\x00-\x1f\x7f-\xa0\xad\u0300-\u036f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff"
_SOMETHING: Final = re.compile(f"[^{_BLANK}]")
_LOOKED_AT: Final = 256  # characters of the rest, one by one

ASKED: Final = 1000
"""Characters of a text without a visible one that a replica is asked about."""


class Doubt(NamedTuple):
    """An input of which a tokenizer may make no token.

    Attributes:
        place: in the body.
        text: the beginning of one without a visible character; empty where there are ids.
        ids: of tokens.
    """

    place: str
    text: str
    ids: Sequence[int] = ()


def is_invisible(text: str) -> bool:
    """Whether a text has no character that can be seen; not of an empty one, which replicas refuse."""
    if not text or " " < text[0] < "\x7f":
        return False
    if text.isspace():  # what most of them are, told many times faster
        return True
    found = _SOMETHING.search(text)
    if found is None:
        return True
    return all(category(character)[0] in _UNSEEN for character in text[found.start() : found.start() + _LOOKED_AT])


def doubt_of(place: str, texts: Sequence[str]) -> Doubt | None:
    """The doubt about texts that a tokenizer gets together; None if one can be seen, or there is but an empty one.

    Each is looked at by itself: to join them would copy a long one as often as it goes with another.
    """
    if not all(not text or is_invisible(text) for text in texts):
        return None
    joined = " ".join([text[:ASKED] for text in texts])[:ASKED]
    return Doubt(place, joined) if joined else None
