"""When refused requests were told to come again: those that do are let in, and room is kept for them."""

from collections import deque

# A promise holds from a little before its time, for clients' clocks differ, until so long after it.
_EARLY_S = 0.5
_LATE_S = 5.0
# Room is kept for what was promised to be let in within this time of now. Not for longer: who was refused may never
# return, and replicas would run dry for nobody.
_SOON_S = 1.0
# What each promise that was kept, or lapsed, tells of the others.
_GAIN = 0.1
_FIRST_SHARE = 0.5
# Promises that are open at once; who is refused beyond them is told a time, and may be refused again.
_MOST = 20_000


class _Promise:
    __slots__ = ("at", "is_open", "is_soon", "key", "tokens")

    def __init__(self, key: int, tokens: int, at: float) -> None:
        self.key = key
        self.tokens = tokens
        self.at = at
        self.is_open = True
        self.is_soon = False  # it counts among those that are to come about now


class Promises:
    """Of one class of requests; each promise costs the same however many there are.

    Attributes:
        tokens: promised to be let in.
        share: of those that were refused that come again, learnt.
    """

    def __init__(self) -> None:
        self.tokens = 0
        self.share = _FIRST_SHARE
        self._by_key: dict[int, deque[_Promise]] = {}
        self._count = 0
        # In order of their time, each in one of three; kept ones are left in until it is their turn.
        self._later: deque[_Promise] = deque()
        self._soon: deque[_Promise] = deque()
        self._past: deque[_Promise] = deque()
        self._soon_tokens = 0
        self._last_at = 0.0

    def __len__(self) -> int:
        """How many are open."""
        return self._count

    def make(self, key: int, tokens: int, at: float) -> float:
        """A request that is refused now will be let in.

        Args:
            key: the same whenever the same request comes.
            tokens: estimated.
            at: when.

        Returns:
            When really: never before those that were refused sooner.
        """
        if self._count:
            at = max(at, self._last_at)
        if self._count >= _MOST:
            return at
        promise = _Promise(key, tokens, at)
        self._by_key.setdefault(key, deque()).append(promise)
        self._later.append(promise)
        self._count += 1
        self._last_at = at
        self.tokens += tokens
        return at

    def redeem(self, key: int, now: float) -> bool:
        """Whether such a request was promised to be let in now; it then was."""
        if not self._count:
            return False
        self._pass_time(now)
        promises = self._by_key.get(key)
        if not promises or promises[0].at - _EARLY_S > now:
            return False
        self._drop(promises[0])
        self.share += _GAIN * (1 - self.share)
        return True

    def soon(self, now: float) -> int:
        """Tokens for which room is to be kept, for as many as are likely to come."""
        self._pass_time(now)
        return int(self.share * self._soon_tokens)

    @property
    def likely(self) -> int:
        """Tokens that were promised to those that are likely to come."""
        return int(self.share * self.tokens)

    def _pass_time(self, now: float) -> None:
        """What is to come becomes what comes about now, then what is late, then lapses."""
        while self._later and self._later[0].at <= now + _SOON_S:
            promise = self._later.popleft()
            self._soon.append(promise)
            if promise.is_open:
                promise.is_soon = True
                self._soon_tokens += promise.tokens
        while self._soon and self._soon[0].at < now - _SOON_S:
            promise = self._soon.popleft()
            self._past.append(promise)
            self._no_longer_soon(promise)
        while self._past and self._past[0].at + _LATE_S < now:
            promise = self._past.popleft()
            if promise.is_open:
                self._drop(promise)
                self.share -= _GAIN * self.share

    def _no_longer_soon(self, promise: _Promise) -> None:
        if promise.is_soon:
            promise.is_soon = False
            self._soon_tokens -= promise.tokens

    def _drop(self, promise: _Promise) -> None:
        """It was kept, or nobody came; it is the first of its key."""
        promise.is_open = False
        self._no_longer_soon(promise)
        self._count -= 1
        self.tokens -= promise.tokens
        promises = self._by_key[promise.key]
        promises.popleft()
        if not promises:
            del self._by_key[promise.key]
