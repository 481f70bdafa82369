"""The texts to send: real paragraphs, and rounds of 32 texts whose lengths are evenly spread on a log scale."""

from pathlib import Path

from bench.measuring.texts import paragraphs
from embedfleet.engine.model.builtin import builtin_model
from embedfleet.engine.model.spec import read_model
from embedfleet.engine.text.tokenization import Tokenization
from embedfleet.engine.text.truncation import TextLimits

_COUNT = 1200  # many more than are in flight at once: equal texts would be computed once
_MIXED = 32
_SHORTEST, _LONGEST = 5, 250  # tokens


class Texts:
    """Paragraphs and mixed texts, and the number of tokens that the model reads of each.

    Args:
        model: Folder of the model; None for the built-in one.
    """

    def __init__(self, model: str | None = None) -> None:
        spec = read_model(builtin_model() if model is None else Path(model))
        self._tokenization = Tokenization(spec.tokenizer_file)
        self._limits = TextLimits(spec.max_input_length, truncate=True, direction="right")
        self.real = paragraphs(_COUNT)
        self.mixed = self._mixed(" ".join(paragraphs(_COUNT, seed=11)).split())
        self.tokens = {text: self._count(text) for text in (*self.real, *self.mixed)}

    def _mixed(self, words: list[str]) -> list[str]:
        """Rounds of 32 different texts, each round with every length."""
        steps = [_SHORTEST * (_LONGEST / _SHORTEST) ** (number / (_MIXED - 1)) for number in range(_MIXED)]
        shuffled = [steps[number * 13 % _MIXED] for number in range(_MIXED)]  # 13 and 32 share no factor
        found, place = [], 0
        for _ in range(4):
            for tokens in shuffled:
                count = max(1, round(tokens / 1.6))  # tokens per word of such texts
                found.append(" ".join(words[(place + number) % len(words)] for number in range(count)))
                place += count
        return found

    def _count(self, text: str) -> int:
        (encoded,) = self._tokenization.encode([text], self._limits, None)
        return len(encoded.ids)
