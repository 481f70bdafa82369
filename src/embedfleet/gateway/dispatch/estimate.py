"""What a request will cost before anybody has tokenized it, and how fast the pool works it off."""

from typing import Final

# Tokens per character, before anything is learnt: English runs at about 4 characters a token.
_FIRST_RATIO: Final = 0.25
# Tokens that every text has besides its own: BERT's [CLS] and [SEP], and their like.
_SPECIAL: Final = 2
# Each reply moves the ratio by this share towards what it cost.
_GAIN: Final = 0.05
_LEAST_RATIO: Final = 0.01
_MOST_RATIO: Final = 2.0


class TokenEstimate:
    """Tokens per character of text, learnt from the ``x-compute-tokens`` of replies."""

    def __init__(self) -> None:
        self.ratio = _FIRST_RATIO

    def tokens(self, characters: int) -> int:
        """The estimate for one text."""
        return _SPECIAL + int(characters * self.ratio)

    def learn(self, estimated: int, texts: int, tokens: int) -> None:
        """Texts that were estimated at so many tokens cost ``tokens``."""
        special = _SPECIAL * texts
        if estimated > special and tokens > special:
            seen = self.ratio * (tokens - special) / (estimated - special)
            self.ratio += _GAIN * (min(max(seen, _LEAST_RATIO), _MOST_RATIO) - self.ratio)


class DrainRate:
    """Tokens per second that the pool finishes while it has work, smoothed over some seconds."""

    def __init__(self) -> None:
        self.tokens_per_s = 0.0
        self._finished = 0
        self._since = 0.0

    def finished(self, tokens: int) -> None:
        """Count finished work."""
        self._finished += tokens

    def stood_still(self, seconds: float) -> None:
        """Time in which nothing was seen is not counted."""
        self._since += seconds

    def measure(self, now: float, *, busy: bool) -> None:
        """Close a window of about a second; one without work says nothing about speed."""
        elapsed = now - self._since
        if elapsed < 1.0:
            return
        if busy or self._finished:
            seen = self._finished / elapsed
            self.tokens_per_s += (0.3 if self.tokens_per_s else 1.0) * (seen - self.tokens_per_s)
        self._finished = 0
        self._since = now
