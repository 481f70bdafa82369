"""Whether a batch should wait a moment for clients that were just answered, since many ask again at once.

A pass has a fixed cost, the reading of all weights. Of clients that ask for one text after the other, some wait while
the others are computed; without a pause the two groups take turns for ever, and every pass is half as full as it could
be. So a batch that is not full waits for a small share of the last pass, until as many requests have come as were
answered. It does so only while most do come in that time, which is seen whether it waits or not: of requests that come
by chance, few do.
"""

_SHARE = 0.1  # of the last pass
_MOST = 0.5  # of the answered
_WEIGHT = 0.2  # of the last pass in what is known of them


class Linger:
    """See the module; times are of one clock, in seconds."""

    def __init__(self) -> None:
        self._answered = 0
        self._returned = 0
        self._until = 0.0
        self._habit = 0.0  # the share of the answered that was followed by another request in time

    def ended(self, answered: int, began: float, now: float) -> None:
        """A pass has ended, and so many requests were answered with it."""
        if self._answered:
            share = min(1.0, self._returned / self._answered)
            self._habit += _WEIGHT * (share - self._habit)
        self._answered, self._returned = answered, 0
        self._until = now + _SHARE * (now - began)

    def arrived(self, now: float) -> None:
        """A request has come."""
        self._returned += now <= self._until

    def wait_s(self, now: float) -> float:
        """How much longer a batch that is not full should wait; 0 for not at all."""
        if self._habit < _MOST or self._returned >= self._answered:
            return 0.0
        return max(0.0, self._until - now)
