"""How much work may be done twice."""


class Budget:
    """Tokens that may be sent again: a share of those sent for the first time, and a burst.

    Args:
        share: of the tokens sent that may be sent again.
        burst: that may be sent again before anything was earned; also the most that is saved.

    Attributes:
        left: that may be sent again now.
        spent: since the start.
    """

    def __init__(self, share: float, burst: int) -> None:
        self._share = share
        self._burst = float(burst)
        self.left = float(burst)
        self.spent = 0

    def earn(self, tokens: int) -> None:
        """So many were sent for the first time."""
        left = self.left + self._share * tokens
        self.left = min(self._burst, left)

    def spend(self, tokens: int) -> bool:
        """Take so many, if they are there."""
        if tokens > self.left:
            return False
        self.left -= tokens
        self.spent += tokens
        return True
