"""The decision whether a batch waits a moment for the next requests of clients that were just answered.

A pass has a fixed cost: it reads all weights. When clients send one text after another, some wait while others are
computed. Without a pause the two groups take turns for ever, and every pass is half as full as it could be. So a batch
that is not full waits for a small share of the last pass's time, or until as many requests have come as were answered.
It waits only while most answered requests are followed by another one within that time. Their share is measured even
when no batch waits. Requests that arrive at random rarely fall into that time, so they keep the share low.
"""

_WAIT_SHARE = 0.1  # longest wait, as a share of the last pass's time
_RETURN_SHARE = 0.5  # a batch waits only if the measured share is at least this
_WEIGHT = 0.2  # weight of the last pass in the running mean of the measured share


class Linger:
    """Decides how long a batch that is not full waits; all times are in seconds of one clock."""

    def __init__(self) -> None:
        self._answered = 0
        self._returned = 0
        self._until = 0.0
        self._return_share = 0.0  # running mean of the share of answered requests that were followed by another in time

    def ended(self, answered: int, began: float, now: float) -> None:
        """Note the end of a pass.

        Args:
            answered: Number of requests that the pass answered completely.
            began: Start of the pass.
            now: End of the pass.
        """
        if self._answered:
            share = min(1.0, self._returned / self._answered)
            self._return_share += _WEIGHT * (share - self._return_share)
        self._answered, self._returned = answered, 0
        self._until = now + _WAIT_SHARE * (now - began)

    def arrived(self, now: float) -> None:
        """Note that a request has come."""
        self._returned += now <= self._until

    def wait_s(self, now: float) -> float:
        """Remaining wait of a batch that is not full, in seconds."""
        if self._return_share < _RETURN_SHARE or self._returned >= self._answered:
            return 0.0
        return max(0.0, self._until - now)
