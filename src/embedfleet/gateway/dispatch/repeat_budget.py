"""The budget for work that is sent again."""


class Budget:
    """Tokens that may be sent again: a share of those sent for the first time, and a burst.

    Args:
        share: Share of the tokens sent for the first time.
        burst: Tokens that may be sent again before any share was earned; also the most tokens that can be saved up.

    Attributes:
        spent: Tokens spent since the start.
    """

    def __init__(self, share: float, burst: int) -> None:
        self._share = share
        self._burst = float(burst)
        self.spent = 0
        self._left = float(burst)
        self._seen = 0

    def spend(self, tokens: int, sent: int) -> bool:
        """Spend tokens if the budget allows it; return whether it did.

        Args:
            tokens: Tokens to spend.
            sent: Tokens sent for the first time since the start.
        """
        self._left = min(self._burst, self._left + self._share * (sent - self._seen))
        self._seen = sent
        if tokens > self._left:
            return False
        self._left -= tokens
        self.spent += tokens
        return True
