"""The special tokens that a tokenizer's post-processor puts around a text, or around and between the two of a pair.

The library could add them itself to an encoding that it has truncated. But it keeps every part that it removes, and for
a pair it combines each part of one text with each part of the other: time and memory grow with the product of the
lengths. So we read its template once, and add the special tokens ourselves.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from embedfleet.arrays import Integers


@dataclass(frozen=True, slots=True)
class Tokens:
    """A sequence of tokens.

    Attributes:
        ids: Token ids.
        types: Token types, one per token; empty for a text that is not yet part of an input.
        special: 1 for each special token, 0 for any other.
    """

    ids: Sequence[int]
    types: Sequence[int]
    special: Sequence[int]

    def __len__(self) -> int:
        """Number of tokens."""
        return len(self.ids)

    def part(self, start: int, stop: int) -> "Tokens":
        """The tokens from ``start`` up to, but not including, ``stop``."""
        return Tokens(self.ids[start:stop], self.types[start:stop], self.special[start:stop])


@dataclass(frozen=True, slots=True)
class Template:
    """The form of an input: special tokens around texts.

    Attributes:
        around: Special tokens before, between and after the texts; one sequence more than there are texts.
        order: Numbers of the texts, in the order in which the input has them.
        types: Token type of each text, in that order.
        special: Number of special tokens.
        has_types: Whether a token may have another type than 0.
    """

    around: tuple[Tokens, ...]
    order: tuple[int, ...]
    types: tuple[int, ...]
    special: int = field(init=False)
    has_types: bool = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "special", sum(map(len, self.around)))
        object.__setattr__(self, "has_types", any(self.types) or any(any(part.types) for part in self.around))

    def without_types(self) -> "Template":
        """The same template with all token types 0."""
        around = tuple(Tokens(part.ids, [0] * len(part), part.special) for part in self.around)
        return Template(around, self.order, (0,) * len(self.types))

    def ended(self, token: int) -> "Template":
        """The same template with one more special token, ``token``, after those that follow each text."""
        after = (
            Tokens((*tokens.ids, token), (*tokens.types, kind), (*tokens.special, 1))
            for tokens, kind in zip(self.around[1:], self.types, strict=True)
        )
        return replace(self, around=(self.around[0], *after))

    def surround(self, ids: Sequence[int], special: Sequence[int]) -> tuple[Integers, Integers, list[int]]:
        """Put one text into the template, as `fill` does, in fewer steps.

        Args:
            ids: Token ids of the text.
            special: 1 for each special token of the text, 0 for any other.
        """
        before, after = self.around
        marks = [*before.special, *special, *after.special]
        if self.has_types:
            types = np.array([*before.types, *(self.types * len(ids)), *after.types], dtype=np.int64)
        else:
            types = np.zeros(len(marks), dtype=np.int64)
        return np.array([*before.ids, *ids, *after.ids], dtype=np.int64), types, marks

    def fill(self, texts: Sequence[Tokens]) -> tuple[Integers, Integers, list[int]]:
        """Put texts into the template; returns the input's token ids, types, and a 1 for each special token."""
        ids, types, special = list(self.around[0].ids), list(self.around[0].types), list(self.around[0].special)
        for number, kind, after in zip(self.order, self.types, self.around[1:], strict=True):
            text = texts[number]
            ids += text.ids
            ids += after.ids
            types += [kind] * len(text)
            types += after.types
            special += text.special
            special += after.special
        return np.array(ids, dtype=np.int64), np.array(types, dtype=np.int64), special


def read_template(whole: Tokens, texts: Sequence[Sequence[int]]) -> Template:
    """Find the template by which an input was made.

    Args:
        whole: Tokens of the input.
        texts: Token ids of its texts, at least one each.

    Raises:
        ValueError: A text is missing from the input, occurs twice in it, or has several token types.
    """
    left = list(range(len(texts)))
    around, order, types = [], [], []
    begin = place = 0
    while place < len(whole):
        if whole.special[place]:
            place += 1
            continue
        number = next((one for one in left if _stands_at(texts[one], whole, place)), None)
        if number is None:
            raise ValueError("a text occurs twice, or was changed")
        stop = place + len(texts[number])
        if len(set(whole.types[place:stop])) != 1:
            raise ValueError("the tokens of a text have several types")
        around.append(whole.part(begin, place))
        order.append(number)
        types.append(whole.types[place])
        left.remove(number)
        begin = place = stop
    if left:
        raise ValueError("a text is missing")
    return Template((*around, whole.part(begin, len(whole))), tuple(order), tuple(types))


def _stands_at(ids: Sequence[int], whole: Tokens, place: int) -> bool:
    part = whole.part(place, place + len(ids))
    return list(part.ids) == list(ids) and not any(part.special)
