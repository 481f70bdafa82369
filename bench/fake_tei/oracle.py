"""The answers of fake replicas: tokens, vector and score follow from the text, so that a client can check them."""

from collections.abc import Sequence
from hashlib import blake2b
from math import ceil, sqrt
from typing import Any

DIMENSIONS = 8
LABELS = ("LABEL_0", "LABEL_1")
_ATOMS = tuple((byte - 128) / 128 for byte in range(256))  # Exact in float32, so JSON keeps them.


def text_of(name: str, tokens: int, size: int = 0) -> str:
    """A text with a given number of tokens.

    Args:
        name: Name without ``|`` that distinguishes the text from all others.
        tokens: Number of tokens that a replica counts.
        size: Size of the text in bytes; the text is never shorter than its own beginning.
    """
    beginning = f"n={tokens}|{name}|"
    return beginning + "x" * max(0, size - len(beginning))


def tokens_of(text: str, longest: int) -> int:
    """Tokens that a replica counts, after truncation; a text that states no number has one per four characters."""
    number, bar, _ = text[2:20].partition("|")  # Only the beginning: texts are long and many.
    if bar and number.isdecimal() and text.startswith("n="):
        return max(1, min(longest, int(number)))
    return min(longest, 2 + ceil(len(text) / 4))


def name_of(text: str) -> str:
    """The name given to `text_of`; the first 40 characters of any other text."""
    parts = text[:200].split("|", 2)
    return parts[1] if len(parts) == 3 and parts[0].startswith("n=") else text[:40]


def vector_of(text: str, options: str = "") -> list[float]:
    """The vector of a text: `DIMENSIONS` numbers from -1 to below 1.

    Args:
        text: Text to embed.
        options: Options of the request, as `options_of` writes them; other options give other vectors.
    """
    digest = blake2b(_mark(text), digest_size=DIMENSIONS, person=options.encode()[:16]).digest()
    return [_ATOMS[byte] for byte in digest]


def _mark(text: str) -> bytes:
    """Length and beginning, which distinguish a text from others; hashing whole long texts would delay batches."""
    return b"%d|%b" % (len(text), text[:200].encode())


def options_of(normalize: bool, prompt_name: str | None) -> str:
    """Options that change a vector, as a short string; empty for the defaults."""
    return ("" if normalize else "raw") + (f":{prompt_name}" if prompt_name else "")


def score_of(query: str, text: str) -> float:
    """The score of a text: from 0 to below 1 in steps of 1/1024, so that some texts tie."""
    digest = blake2b(query.encode() + b"\0" + _mark(text), digest_size=2).digest()
    return (int.from_bytes(digest) % 1024) / 1024


def ranking(scores: Sequence[float]) -> list[int]:
    """Indices as TEI sorts them: best score first; among equal scores, the higher index first."""
    return sorted(range(len(scores)), key=lambda index: (scores[index], index), reverse=True)


class FakeOracle:
    """Texts for fake replicas and their expected answers, for the load generator (`embedfleet.load.plan.Oracle`)."""

    def text(self, name: str, tokens: int, size_bytes: int) -> str:
        """A text with a given number of tokens."""
        return text_of(name, tokens, size_bytes)

    def vectors(self, texts: Sequence[str]) -> list[list[float]]:
        """Expected answer to ``/embed``."""
        return [vector_of(text) for text in texts]

    def ranks(self, query: str, texts: Sequence[str]) -> list[dict[str, Any]]:
        """Expected answer to ``/rerank``."""
        scores = [score_of(query, text) for text in texts]
        return [{"index": index, "score": scores[index]} for index in ranking(scores)]


def similarity(one: Sequence[float], other: Sequence[float]) -> float:
    """Cosine of two vectors."""
    product = sum(a * b for a, b in zip(one, other, strict=True))
    return product / (sqrt(sum(a * a for a in one)) * sqrt(sum(b * b for b in other)) or 1.0)
