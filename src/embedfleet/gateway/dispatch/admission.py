"""Admission: which requests are admitted, and when refused clients should retry."""

from math import ceil

from embedfleet.errors import Overloaded, Saturated, ServingError
from embedfleet.gateway.dispatch.commands import Refuse, Separate
from embedfleet.gateway.dispatch.estimate import DrainRate
from embedfleet.gateway.dispatch.limits import DispatchLimits
from embedfleet.gateway.dispatch.request import Request
from embedfleet.gateway.dispatch.reservations import Reservations

_UNKNOWN_S = 5.0  # Retry-After in seconds while no replica serves
# A reservation is not honoured while the queue is this many times as long as its limit. That happens when many clients
# come back after many others stayed away, so that too small a share was expected.
_OVERBOOKED = 2
_LEAST_SHARE = 0.5  # least assumed share of the nominal rate, because a rate measured under light load is too low


class Admission:
    """Limits each queue in seconds and both together in bytes.

    The limit in seconds does not apply to a request that finds its queue empty, and the limit in bytes does not apply
    while no bytes are queued.

    Args:
        limits: Limits of the dispatcher.
        rate: Measured rate at which the pool finishes tokens.
    """

    def __init__(self, limits: DispatchLimits, rate: DrainRate) -> None:
        self._limits = limits
        self._rate = rate
        # Indexed by whether a request is online. A request larger than the whole queue is admitted once the queue is
        # empty. Such requests have their own reservations; otherwise small requests would get the late times of the
        # large ones.
        self._reservations = (Reservations(), Reservations())
        self._reservations_of_huge = (Reservations(), Reservations())

    def refusal(
        self, request: Request, *, waiting: int, queued_bytes: int, tokens_per_s: float, now: float
    ) -> Refuse | Separate | None:
        """Decide whether a request is refused, and when the client should retry.

        A shared request is separated rather than refused, so that each of its clients gets its own decision and time.

        Args:
            request: Request that has just arrived.
            waiting: Estimated tokens that wait in the queue of its class.
            queued_bytes: Bytes of all bodies that wait, of both classes.
            tokens_per_s: Combined throughput of the replicas that serve, or of all if none serves.
            now: Time in seconds.

        Returns:
            Refusal or separation; None if the request is admitted.
        """
        reservations, huge = self._reservations[request.is_online], self._reservations_of_huge[request.is_online]
        limits = self._limits
        is_large = queued_bytes > 0 and queued_bytes + request.size_bytes > limits.queue_bytes
        room = (limits.online_queue_s if request.is_online else limits.bulk_queue_s) * tokens_per_s
        is_overbooked = False
        if not is_large and self.redeem(request, now):
            if waiting <= _OVERBOOKED * room + request.tokens:
                return None
            is_overbooked = True
            reservations.share = huge.share = 1.0  # too few clients were expected to come back
        is_long = tokens_per_s > 0 and waiting > 0 and waiting + reservations.soon(now) + request.tokens > room
        if not is_long and not is_large:
            return None
        if request.is_shared:
            return Separate(request)
        huge.soon(now)  # drops the reservations that have lapsed
        # Clients that are due now get a new time like this one, behind those that are due later.
        ahead, huge_ahead = (reservations.later, huge.later) if is_overbooked else (reservations.likely, huge.likely)
        if request.tokens > room:
            excess = float(waiting + ahead + huge_ahead)
            reservations = huge
        else:
            excess = max(float(request.tokens), waiting + ahead + request.tokens - room)
        at = reservations.make(request.handle.key, request.tokens, now + self._seconds(excess, tokens_per_s))
        after_s = max(1, ceil(at - now))
        error: ServingError = Saturated(after_s) if request.is_online else Overloaded(retry_after_s=after_s)
        return Refuse(request, error, "online-queue" if request.is_online else "bulk-queue")

    def redeem(self, request: Request, now: float) -> bool:
        """Use up the reservation of a request, if it has one that is valid now; return whether it had."""
        reservations, huge = self._reservations[request.is_online], self._reservations_of_huge[request.is_online]
        if not len(reservations) and not len(huge):  # the usual case, for which the key need not be computed
            return False
        key = request.handle.key
        return reservations.redeem(key, now) or huge.redeem(key, now)

    def _seconds(self, tokens: float, tokens_per_s: float) -> float:
        """Return the seconds that the pool needs for the given number of tokens."""
        rate = max(self._rate.tokens_per_s, _LEAST_SHARE * tokens_per_s)
        return tokens / rate if rate > 0 else _UNKNOWN_S
