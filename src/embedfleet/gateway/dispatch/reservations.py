"""Reservations: a refused request gets a time for its retry; room is kept for it, and its retry is admitted."""

from collections import deque

# A reservation is valid from shortly before its time, because clients' clocks differ, until some time after it.
_EARLY_S = 0.5
_LATE_S = 5.0
# Room is kept only for reservations within this time of now. Clients may never come back, and room kept for longer
# would leave replicas without work for nothing.
_SOON_S = 1.0
# Weight of each used or lapsed reservation in the moving average of the share that is used.
_GAIN = 0.1
# Every refused client is expected back until some have stayed away. With a smaller first share, a first wave of clients
# that all obey would get times at which the queue still exceeds its limit.
_FIRST_SHARE = 1.0
# Most open reservations. Clients beyond them get a time too, but may be refused again.
_MOST = 20_000


class _Reservation:
    __slots__ = ("at", "is_later", "is_open", "is_soon", "key", "tokens")

    def __init__(self, key: int, tokens: int, at: float) -> None:
        self.key = key
        self.tokens = tokens
        self.at = at
        self.is_open = True
        self.is_later = True  # whether its tokens are counted in `_later_tokens`
        self.is_soon = False  # whether its tokens are counted in `_soon_tokens`


class Reservations:
    """Reservations of one class of requests; the cost of each operation does not grow with their number.

    Attributes:
        tokens: Estimated tokens of all open reservations.
        share: Learnt share of refused requests that are retried.
    """

    def __init__(self) -> None:
        self.tokens = 0
        self.share = _FIRST_SHARE
        self._by_key: dict[int, deque[_Reservation]] = {}
        self._count = 0
        # Each reservation is in one of these three, in order of time; a used one stays until it reaches the front.
        self._later: deque[_Reservation] = deque()
        self._soon: deque[_Reservation] = deque()
        self._past: deque[_Reservation] = deque()
        self._later_tokens = 0
        self._soon_tokens = 0
        self._last_at = 0.0

    def __len__(self) -> int:
        """Return the number of open reservations."""
        return self._count

    def make(self, key: int, tokens: int, at: float) -> float:
        """Reserve room for a request that is refused now.

        Args:
            key: Number that is equal for equal requests.
            tokens: Estimated tokens of the request.
            at: Earliest time for its retry.

        Returns:
            Time of the reservation, never before those of earlier refusals.
        """
        if self._count:
            at = max(at, self._last_at)
        if self._count >= _MOST:
            return at
        reservation = _Reservation(key, tokens, at)
        self._by_key.setdefault(key, deque()).append(reservation)
        self._later.append(reservation)
        self._count += 1
        self._last_at = at
        self.tokens += tokens
        self._later_tokens += tokens
        return at

    def redeem(self, key: int, now: float) -> bool:
        """Use up the reservation of a request, if it has one that is valid now; return whether it had."""
        if not self._count:
            return False
        self._pass_time(now)
        reservations = self._by_key.get(key)
        if not reservations or reservations[0].at - _EARLY_S > now:
            return False
        self._drop(reservations[0])
        self.share += _GAIN * (1 - self.share)
        return True

    def soon(self, now: float) -> int:
        """Return the expected tokens of retries that are due about now, for which room is kept."""
        self._pass_time(now)
        return int(self.share * self._soon_tokens)

    @property
    def likely(self) -> int:
        """Expected tokens of the retries of all open reservations."""
        return int(self.share * self.tokens)

    @property
    def later(self) -> int:
        """Expected tokens of the retries that are not due yet."""
        return int(self.share * self._later_tokens)

    def _pass_time(self, now: float) -> None:
        """Move reservations to the next list as their time comes and passes, and drop lapsed ones."""
        while self._later and self._later[0].at <= now + _SOON_S:
            reservation = self._later.popleft()
            self._soon.append(reservation)
            self._no_longer_later(reservation)
            if reservation.is_open:
                reservation.is_soon = True
                self._soon_tokens += reservation.tokens
        while self._soon and self._soon[0].at < now - _SOON_S:
            reservation = self._soon.popleft()
            self._past.append(reservation)
            self._no_longer_soon(reservation)
        while self._past and self._past[0].at + _LATE_S < now:
            reservation = self._past.popleft()
            if reservation.is_open:
                self._drop(reservation)
                self.share -= _GAIN * self.share

    def _no_longer_later(self, reservation: _Reservation) -> None:
        if reservation.is_later:
            reservation.is_later = False
            self._later_tokens -= reservation.tokens

    def _no_longer_soon(self, reservation: _Reservation) -> None:
        if reservation.is_soon:
            reservation.is_soon = False
            self._soon_tokens -= reservation.tokens

    def _drop(self, reservation: _Reservation) -> None:
        """Close a used or lapsed reservation, which is the first of its key."""
        reservation.is_open = False
        self._no_longer_later(reservation)
        self._no_longer_soon(reservation)
        self._count -= 1
        self.tokens -= reservation.tokens
        reservations = self._by_key[reservation.key]
        reservations.popleft()
        if not reservations:
            del self._by_key[reservation.key]
