"""What a request will cost before anybody has tokenized it, and how fast the pool works it off."""

from math import ceil

# Tokens per byte of JSON body, before anything is learnt: English runs at about 4 characters a token.
_FIRST_RATIO = 0.25
# Each reply moves the ratio by this share towards what it cost.
_GAIN = 0.05
_RATIO_BOUNDS = (0.01, 2.0)


class TokenEstimate:
    """Tokens per byte of request body, learnt from the ``x-compute-tokens`` of replies."""

    def __init__(self) -> None:
        self.ratio = _FIRST_RATIO

    def tokens(self, size_bytes: int) -> int:
        """The estimate for a body, at least one token."""
        return int(size_bytes * self.ratio) or 1

    def learn(self, size_bytes: int, tokens: int) -> None:
        """A body of ``size_bytes`` cost ``tokens``."""
        if size_bytes > 0:
            low, high = _RATIO_BOUNDS
            seen = min(max(tokens / size_bytes, low), high)
            self.ratio += _GAIN * (seen - self.ratio)


class DrainRate:
    """Tokens per second that the pool finishes while it has work, smoothed over some seconds."""

    def __init__(self) -> None:
        self.tokens_per_s = 0.0
        self._finished = 0
        self._since = 0.0

    def finished(self, tokens: int) -> None:
        """Count finished work."""
        self._finished += tokens

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

    def seconds_for(self, tokens: int) -> int:
        """Whole seconds until ``tokens`` are worked off, 1 to 60; 5 while nothing is known."""
        if self.tokens_per_s <= 0:
            return 5
        return min(60, max(1, ceil(tokens / self.tokens_per_s)))
