"""When refused requests were told to come again: those that do are let in, and room is kept for them."""

from collections import deque
from dataclasses import dataclass

# A promise holds from a little before its time, for clients' clocks differ, until so long after it.
_EARLY_S = 0.5
_LATE_S = 5.0
# Room is kept for what was promised to be let in within this time of now. Not for longer: who was refused may never
# return, and replicas would run dry for nobody.
_SOON_S = 1.0
# What each promise that was kept, or lapsed, tells of the others.
_GAIN = 0.1
_FIRST_SHARE = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class _Promise:
    key: int
    tokens: int
    at: float


class Promises:
    """Of one class of requests.

    Attributes:
        tokens: promised to be let in.
        share: of those that were refused that come again, learnt.
    """

    def __init__(self) -> None:
        self.tokens = 0
        self.share = _FIRST_SHARE
        self._by_key: dict[int, deque[_Promise]] = {}
        self._in_order: deque[_Promise] = deque()

    def __len__(self) -> int:
        """How many are open."""
        return len(self._in_order)

    def make(self, key: int, tokens: int, at: float) -> float:
        """A request that is refused now will be let in.

        Args:
            key: the same whenever the same request comes.
            tokens: estimated.
            at: when.

        Returns:
            When really: never before those that were refused sooner.
        """
        if self._in_order:
            at = max(at, self._in_order[-1].at)
        promise = _Promise(key, tokens, at)
        self._by_key.setdefault(key, deque()).append(promise)
        self._in_order.append(promise)
        self.tokens += tokens
        return at

    def redeem(self, key: int, now: float) -> bool:
        """Whether such a request was promised to be let in now; it then was."""
        promises = self._by_key.get(key)
        if not promises or promises[0].at - _EARLY_S > now:
            return False
        self._drop(promises[0])
        self.share += _GAIN * (1 - self.share)
        return True

    def soon(self, now: float) -> int:
        """Tokens for which room is to be kept, for as many as are likely to come; what is over is dropped."""
        while self._in_order and self._in_order[0].at + _LATE_S < now:
            self._drop(self._in_order[0])
            self.share -= _GAIN * self.share
        total = 0
        for promise in self._in_order:
            if promise.at > now + _SOON_S:
                break
            if promise.at >= now - _SOON_S:
                total += promise.tokens
        return int(self.share * total)

    @property
    def likely(self) -> int:
        """Tokens that were promised to those that are likely to come."""
        return int(self.share * self.tokens)

    def _drop(self, promise: _Promise) -> None:
        """It was kept, or nobody came."""
        self._in_order.remove(promise)
        self.tokens -= promise.tokens
        self._by_key[promise.key].remove(promise)
        if not self._by_key[promise.key]:
            del self._by_key[promise.key]
