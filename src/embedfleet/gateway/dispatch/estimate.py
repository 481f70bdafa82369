"""Estimates of the tokens of a text that is not tokenized yet, and of the tokens per second of the pool."""

from typing import Final

# Tokens per character before any reply was seen: English has about 4 characters per token.
_FIRST_RATIO: Final = 0.25
# Special tokens of every text, such as BERT's [CLS] and [SEP].
_SPECIAL: Final = 2
# Weight of each reply in the moving average of the ratio.
_GAIN: Final = 0.05
_LEAST_RATIO: Final = 0.01
_MOST_RATIO: Final = 2.0


class TokenEstimate:
    """Tokens per character of text, learnt from the ``x-compute-tokens`` of replies."""

    def __init__(self) -> None:
        self.ratio = _FIRST_RATIO

    def tokens(self, characters: int) -> int:
        """Return the estimated tokens of one text with the given number of characters."""
        return _SPECIAL + int(characters * self.ratio)

    def learn(self, estimated: int, texts: int, tokens: int) -> None:
        """Update the ratio from a reply.

        Args:
            estimated: Estimated tokens of all texts.
            texts: Number of texts.
            tokens: Actual tokens of all texts.
        """
        special = _SPECIAL * texts
        if estimated > special and tokens > special:
            seen = self.ratio * (tokens - special) / (estimated - special)
            self.ratio += _GAIN * (min(max(seen, _LEAST_RATIO), _MOST_RATIO) - self.ratio)


class DrainRate:
    """Tokens per second that the pool finishes while it has work, as a moving average over some seconds."""

    def __init__(self) -> None:
        self.tokens_per_s = 0.0
        self._finished = 0
        self._since = 0.0

    def finished(self, tokens: int) -> None:
        """Count finished tokens."""
        self._finished += tokens

    def stood_still(self, seconds: float) -> None:
        """Exclude a period in which the gateway read nothing."""
        self._since += seconds

    def measure(self, now: float, *, busy: bool) -> None:
        """End the current measurement if it lasted a second or more; a period without work is not counted.

        Args:
            now: Time in seconds.
            busy: Whether any replica has work.
        """
        elapsed = now - self._since
        if elapsed < 1.0:
            return
        if busy or self._finished:
            seen = self._finished / elapsed
            self.tokens_per_s += (0.3 if self.tokens_per_s else 1.0) * (seen - self.tokens_per_s)
        self._finished = 0
        self._since = now
