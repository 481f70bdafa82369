"""How much work may be done twice."""


class Budget:
    """Tokens that may be sent again: a share of those sent for the first time, and a burst.

    Args:
        share: of the tokens sent that may be sent again.
        burst: that may be sent again before anything was earned; also the most that is saved.
    """

    def __init__(self, share: float, burst: int) -> None:
        self._share = share
        self._burst = float(burst)
        self._left = float(burst)
        self._seen = 0

    def left(self, sent: int) -> float:
        """What may be sent again, after ``sent`` tokens were sent for the first time in all."""
        self._left = min(self._burst, self._left + self._share * (sent - self._seen))
        self._seen = sent
        return self._left

    def spend(self, tokens: int, sent: int) -> bool:
        """Take so many, if they are there."""
        if tokens > self.left(sent):
            return False
        self._left -= tokens
        return True
