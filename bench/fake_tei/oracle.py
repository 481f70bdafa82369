"""What a text is worth: tokens, vector and score follow from the text, so whoever sent it can check the answer."""

from collections.abc import Sequence
from hashlib import blake2b
from math import ceil, sqrt

DIMENSIONS = 8
LABELS = ("LABEL_0", "LABEL_1")
_ATOMS = tuple((byte - 128) / 128 for byte in range(256))  # exact in float32, so JSON keeps them


def text_of(name: str, tokens: int, size: int = 0) -> str:
    """A text of so many tokens.

    Args:
        name: without ``|``; tells it from all others.
        tokens: that the replica is to count.
        size: of the text in bytes; it is never shorter than its own beginning.
    """
    beginning = f"n={tokens}|{name}|"
    return beginning + "x" * max(0, size - len(beginning))


def tokens_of(text: str, longest: int) -> int:
    """How many tokens a replica counts, after truncation; a text that states none has one for each four characters."""
    number, bar, _ = text[2:20].partition("|")  # a short look: texts are long, and there are many of them
    if bar and number.isdecimal() and text.startswith("n="):
        return max(1, min(longest, int(number)))
    return min(longest, 2 + ceil(len(text) / 4))


def name_of(text: str) -> str:
    """What `text_of` was given; the first 40 characters of any other text."""
    parts = text[:200].split("|", 2)
    return parts[1] if len(parts) == 3 and parts[0].startswith("n=") else text[:40]


def vector_of(text: str, options: str = "") -> list[float]:
    """`DIMENSIONS` numbers from -1 to below 1.

    Args:
        text: that is embedded.
        options: of the request, as `options_of` writes them: other options are other vectors.
    """
    digest = blake2b(_mark(text), digest_size=DIMENSIONS, person=options.encode()[:16]).digest()
    return [_ATOMS[byte] for byte in digest]


def _mark(text: str) -> bytes:
    """What tells a text from others, its length and its beginning: hashing long texts whole would delay batches."""
    return b"%d|%b" % (len(text), text[:200].encode())


def options_of(normalize: bool, prompt_name: str | None) -> str:
    """Options that change a vector, in few characters; empty for the defaults."""
    return ("" if normalize else "raw") + (f":{prompt_name}" if prompt_name else "")


def score_of(query: str, text: str) -> float:
    """From 0 to below 1 in steps of 1/1024, so that some texts tie."""
    digest = blake2b(query.encode() + b"\0" + _mark(text), digest_size=2).digest()
    return (int.from_bytes(digest) % 1024) / 1024


def ranking(scores: Sequence[float]) -> list[int]:
    """Indices as TEI sorts them: best score first, of equal scores the higher index first."""
    return sorted(range(len(scores)), key=lambda index: (scores[index], index), reverse=True)


def similarity(one: Sequence[float], other: Sequence[float]) -> float:
    """Cosine."""
    product = sum(a * b for a, b in zip(one, other, strict=True))
    return product / (sqrt(sum(a * a for a in one)) * sqrt(sum(b * b for b in other)) or 1.0)
