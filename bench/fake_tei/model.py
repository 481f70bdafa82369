"""What stands for the model: which tokens a text has, what ids decode to, and which sequences end the process. Pure."""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

LARGEST = 0xD800  # vocabulary: ids are code points, and from there on some are no characters
_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")  # ids from 0
_UNKNOWN, _FIRST, _LAST = 1, 2, 3


@dataclass(frozen=True, slots=True)
class FakeModel:
    """A vocabulary of characters: an id is the code point of its text, but for four special tokens.

    Attributes:
        vocabulary: ids from this on decode to nothing.
        adds_special: whether the tokenizer puts special tokens around a text, as BERT's does and many decoders' do not.
        poison: a text that contains this ends whoever computes it; empty for none.
    """

    vocabulary: int = 30_522
    adds_special: bool = True
    poison: str = ""

    def decode(self, ids: Sequence[int], *, skip_special: bool) -> str:
        """The text of ids."""
        return "".join(
            self._text_of(one) for one in ids if one < self.vocabulary and not (skip_special and one <= _LAST)
        )

    def tokenize(self, text: str, *, special: bool) -> list[dict[str, Any]]:
        """A row of ``/tokenize``: a token for each visible character, with its place in bytes."""
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
        """Whether to compute it is the end of the process: it is poison, or a sequence of no tokens.

        Args:
            text: all that is one sequence.
            from_ids: it was decoded, so no special tokens come around it.
        """
        if self.poison and self.poison in text:
            return True
        return (from_ids or not self.adds_special) and not any(map(_visible, text))

    def _text_of(self, one: int) -> str:
        return _SPECIAL[one] if one <= _LAST else chr(one)


def _token(number: int, text: str, start: int | None = None, stop: int | None = None) -> dict[str, Any]:
    return {"id": number, "text": text, "special": start is None, "start": start, "stop": stop}


def _visible(character: str) -> bool:
    """Blanks and control characters are dropped before a text is cut into tokens."""
    return unicodedata.category(character)[0] not in "CZ"
