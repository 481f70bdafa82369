"""Detection of inputs that may have no token, as far as this is possible without the tokenizer."""

import re
from collections.abc import Sequence
from typing import Final, NamedTuple
from unicodedata import category

_INVISIBLE: Final = "CZM"  # Unicode categories: control characters, blanks, and combining marks
# Nearly all characters of these categories. The search for any other character is fast, however long the text is.
_BLANK: Final = r"\s\x00-\x1f\x7f-\xa0\xad\u0300-\u036f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff"
_NOT_BLANK: Final = re.compile(f"[^{_BLANK}]")
_CHECKED: Final = 256  # characters that are checked one by one, starting with the first that is not in `_BLANK`

EXCERPT_CHARACTERS: Final = 1000
"""Characters of an invisible text that are sent to a replica's tokenizer."""


class MaybeTokenless(NamedTuple):
    """An input that may have no token.

    Attributes:
        place: Place of the input in the body, such as ``inputs[3]``.
        text: Beginning of an invisible text; empty for an input of token ids.
        ids: Token ids; empty for a text.
    """

    place: str
    text: str
    ids: Sequence[int] = ()


def is_invisible(text: str) -> bool:
    """Whether a text has no visible character; False for an empty text, which replicas refuse."""
    if not text or " " < text[0] < "\x7f":
        return False
    if text.isspace():  # true for most invisible texts, and many times faster than the search
        return True
    found = _NOT_BLANK.search(text)
    if found is None:
        return True
    return all(category(character)[0] in _INVISIBLE for character in text[found.start() : found.start() + _CHECKED])


def maybe_tokenless(place: str, texts: Sequence[str]) -> MaybeTokenless | None:
    """Make the record of an input whose texts are all invisible; None if one is visible, or if all are empty.

    Each text is checked separately, because joining them would copy a long query once per text.
    """
    if not all(not text or is_invisible(text) for text in texts):
        return None
    joined = " ".join([text[:EXCERPT_CHARACTERS] for text in texts])[:EXCERPT_CHARACTERS]
    return MaybeTokenless(place, joined) if joined else None
