"""Length limits of an input, and its truncation: first by characters, then by tokens."""

from collections.abc import Sequence
from dataclasses import dataclass

from embedfleet.dialects.serving.tei import Direction
from embedfleet.errors import WrongInput

# TEI 1.9 reads at most this many characters per token of the model's input length.
CHARACTERS_PER_TOKEN = 250


@dataclass(frozen=True, slots=True)
class TextLimits:
    """The length limits of an input, and the treatment of a longer or an empty one.

    Attributes:
        tokens: Maximum number of tokens, special tokens included.
        truncate: Whether a longer input is truncated; otherwise it is refused.
        direction: Side that is truncated.
        may_be_empty: Whether a text may be empty; a text of blanks then gets no prompt.
    """

    tokens: int
    truncate: bool
    direction: Direction
    may_be_empty: bool = False

    @property
    def characters(self) -> int:
        """Maximum number of characters that are read."""
        return self.tokens * CHARACTERS_PER_TOKEN


def truncated_lengths(lengths: Sequence[int], limit: int) -> list[int]:
    """Number of tokens to keep of one text, or of each text of a pair, at most ``limit`` in total.

    A pair is truncated longest first, as in the tokenizers library (truncate_encodings, LongestFirst): the shorter text
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


def truncate_texts(texts: Sequence[str], limits: TextLimits) -> list[str]:
    """Truncate a text, or both texts of a pair, to the characters that are read.

    As in TEI 1.9, the texts of a pair share the limit equally. TEI removes the end in either direction, so a client
    that truncates on the left loses what it wants to keep. We remove the side that the client asked for.

    Raises:
        WrongInput: There are more characters, and ``limits`` do not truncate.
    """
    given = sum(map(len, texts))
    if given <= limits.characters:
        return list(texts)
    if not limits.truncate:
        check_characters(given, limits.characters)
    share = limits.characters // len(texts)
    return [text[:share] if limits.direction == "right" else text[-share:] for text in texts]


def check_characters(given: int, limit: int) -> None:
    """Refuse an input with more characters than are read.

    Raises:
        WrongInput: The input has more.
    """
    if given > limit:
        raise WrongInput(f"Input validation error: `inputs` must have less than {limit} characters. Given: {given}")
