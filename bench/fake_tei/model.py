"""The fake model: tokens of a text, texts of ids, and sequences that end the process. Pure."""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

LARGEST = 0xD800  # maximum number of ids: ids are code points, and from here on some are not characters
_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")  # ids from 0
_UNKNOWN, _FIRST, _LAST = 1, 2, 3


@dataclass(frozen=True, slots=True)
class FakeModel:
    """A vocabulary of characters: an id is a code point, except for four special tokens.

    Attributes:
        vocabulary: Number of ids; larger ids decode to nothing.
        adds_special: Whether the tokenizer puts special tokens around a text, as BERT's does and many decoders' do not.
        poison: Marker of texts that end the replica which computes them; empty for none.
    """

    vocabulary: int = 30_522
    adds_special: bool = True
    poison: str = ""

    def decode(self, ids: Sequence[int], *, skip_special: bool) -> str:
        """Text of ids."""
        return "".join(
            self._text_of(one) for one in ids if one < self.vocabulary and not (skip_special and one <= _LAST)
        )

    def tokenize(self, text: str, *, special: bool) -> list[dict[str, Any]]:
        """A row of ``/tokenize``: one token per visible character, with its byte offsets."""
        tokens, at = [], 0
        for character in text:
            end = at + len(character.encode())
            if _visible(character):
                known = ord(character) < self.vocabulary
                tokens.append(_token(ord(character) if known else _UNKNOWN, character, at, end))
            at = end
        if special and self.adds_special:
            return [_token(_FIRST, _SPECIAL[_FIRST]), *tokens, _token(_LAST, _SPECIAL[_LAST])]
        return tokens

    def ends(self, text: str, *, from_ids: bool = False) -> bool:
        """Whether a sequence ends the process that computes it: it is poison or has no tokens.

        Args:
            text: Text of the whole sequence.
            from_ids: Whether it was decoded from ids, so that no special tokens are added.
        """
        if self.poison and self.poison in text:
            return True
        return (from_ids or not self.adds_special) and not any(map(_visible, text))

    def _text_of(self, one: int) -> str:
        return _SPECIAL[one] if one <= _LAST else chr(one)


def _token(number: int, text: str, start: int | None = None, stop: int | None = None) -> dict[str, Any]:
    return {"id": number, "text": text, "special": start is None, "start": start, "stop": stop}


def _visible(character: str) -> bool:
    """Whether a character becomes a token; blanks and control characters are dropped."""
    return unicodedata.category(character)[0] not in "CZ"
