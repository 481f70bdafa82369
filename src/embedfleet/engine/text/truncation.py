"""How long an input may be, and what is kept of one that is longer: characters first, then tokens; pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from embedfleet.dialects.serving.tei import Direction
from embedfleet.errors import WrongInput

# TEI 1.9 reads at most this many characters per token of the model's input length.
CHARACTERS_PER_TOKEN = 250


@dataclass(frozen=True, slots=True)
class TextLimits:
    """How long an input may be, and what happens to one that is longer, or has nothing in it.

    Attributes:
        tokens: special tokens included.
        truncate: cut it, or refuse it.
        direction: the side that is cut off.
        may_be_empty: a text may have nothing in it; no prompt is put before one of blanks.
    """

    tokens: int
    truncate: bool
    direction: Direction
    may_be_empty: bool = False

    @property
    def characters(self) -> int:
        """Characters that are read at all."""
        return self.tokens * CHARACTERS_PER_TOKEN


def truncated_lengths(lengths: Sequence[int], limit: int) -> list[int]:
    """Tokens kept of one text, or of each text of a pair, so that together they are at most ``limit``.

    A pair is cut longest first as the tokenizers library does it (truncate_encodings, LongestFirst): the shorter text
    is kept whole if the rest of the limit is at least as long; otherwise both get half, the longer one the odd token.
    """
    if sum(lengths) <= limit:
        return list(lengths)
    if len(lengths) == 1:
        return [limit]
    short, long = sorted(lengths)
    long = short if short > limit else max(short, limit - short)
    if short + long > limit:
        short, long = limit // 2, limit - limit // 2
    return [short, long] if lengths[0] <= lengths[1] else [long, short]


def cut_texts(texts: Sequence[str], limits: TextLimits) -> list[str]:
    """The characters that are read of a text or of a pair; together they count against the limit, as in TEI 1.9.

    TEI cuts the end whatever the direction, and so has lost what a client that truncates on the left wants kept; we
    cut on the side that was asked for.

    Raises:
        WrongInput: there are more, and they are not to be cut.
    """
    given = sum(map(len, texts))
    if given <= limits.characters:
        return list(texts)
    if not limits.truncate:
        check_characters(given, limits.characters)
    share = limits.characters // len(texts)
    return [text[:share] if limits.direction == "right" else text[-share:] for text in texts]


def check_characters(given: int, limit: int) -> None:
    """Refuse more characters than are read.

    Raises:
        WrongInput: there are more.
    """
    if given > limit:
        raise WrongInput(f"Input validation error: `inputs` must have less than {limit} characters. Given: {given}")
