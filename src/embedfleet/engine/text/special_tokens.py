"""Where special tokens stand around a text, or around and between two, as a tokenizer's post-processor puts them.

The library would put them itself, into an encoding that it has cut before. It keeps what it cuts off, and makes of a
pair every part of the one text beside every part of the other: a second and a gigabyte for two texts of 100,000
characters. So it is asked once, and we do the same.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from embedfleet.arrays import Integers


@dataclass(frozen=True, slots=True)
class Tokens:
    """Some tokens in a row.

    Attributes:
        ids: of the tokens.
        types: of the tokens, as many; of a text that is still to be filled in none.
        special: which of them are special, as many.
    """

    ids: Sequence[int]
    types: Sequence[int]
    special: Sequence[int]

    def __len__(self) -> int:
        """How many they are."""
        return len(self.ids)

    def part(self, start: int, stop: int) -> "Tokens":
        """Those from one place to before another."""
        return Tokens(self.ids[start:stop], self.types[start:stop], self.special[start:stop])


@dataclass(frozen=True, slots=True)
class Template:
    """How texts become an input.

    Attributes:
        around: special tokens before, between and after the texts; one more than there are texts.
        order: which text comes first, second, …
        types: of each text's tokens, in that order.
    """

    around: tuple[Tokens, ...]
    order: tuple[int, ...]
    types: tuple[int, ...]

    @property
    def special(self) -> int:
        """How many special tokens there are."""
        return sum(map(len, self.around))

    def without_types(self) -> "Template":
        """The same with all token types 0."""
        around = tuple(Tokens(part.ids, [0] * len(part), part.special) for part in self.around)
        return Template(around, self.order, (0,) * len(self.types))

    def ended(self, token: int) -> "Template":
        """The same with a special token after each text and what follows it already."""
        after = (
            Tokens((*tokens.ids, token), (*tokens.types, kind), (*tokens.special, 1))
            for tokens, kind in zip(self.around[1:], self.types, strict=True)
        )
        return replace(self, around=(self.around[0], *after))

    def fill(self, texts: Sequence[Tokens]) -> tuple[Integers, Integers, "np.ndarray[tuple[int], np.dtype[np.bool_]]"]:
        """Ids, types and which are special, [tokens] each, of an input of these texts."""
        ids, types, special = list(self.around[0].ids), list(self.around[0].types), list(self.around[0].special)
        for number, kind, after in zip(self.order, self.types, self.around[1:], strict=True):
            text = texts[number]
            ids += text.ids
            ids += after.ids
            types += [kind] * len(text)
            types += after.types
            special += text.special
            special += after.special
        return np.array(ids, dtype=np.int64), np.array(types, dtype=np.int64), np.array(special, dtype=np.bool_)


def read_template(whole: Tokens, texts: Sequence[Sequence[int]]) -> Template:
    """The template by which an input was made.

    Args:
        whole: the input.
        texts: ids of its texts, each with at least one.

    Raises:
        ValueError: a text is not in it, is in it twice, or is of several types.
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
            raise ValueError("a text stands in it twice, or is not as it was")
        stop = place + len(texts[number])
        if len(set(whole.types[place:stop])) != 1:
            raise ValueError("the tokens of a text are of several types")
        around.append(whole.part(begin, place))
        order.append(number)
        types.append(whole.types[place])
        left.remove(number)
        begin = place = stop
    if left:
        raise ValueError("a text is left out")
    return Template((*around, whole.part(begin, len(whole))), tuple(order), tuple(types))


def _stands_at(ids: Sequence[int], whole: Tokens, place: int) -> bool:
    part = whole.part(place, place + len(ids))
    return list(part.ids) == list(ids) and not any(part.special)
