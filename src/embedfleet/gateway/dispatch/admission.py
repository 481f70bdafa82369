"""Admission: which requests are let in, and when refused ones are to come again."""

from math import ceil

from embedfleet.errors import Overloaded, Saturated, ServingError
from embedfleet.gateway.dispatch.commands import Refuse, Separate
from embedfleet.gateway.dispatch.estimate import DrainRate
from embedfleet.gateway.dispatch.limits import DispatchLimits
from embedfleet.gateway.dispatch.request import Request
from embedfleet.gateway.dispatch.reservations import Reservations

_UNKNOWN_S = 5.0  # seconds until a client is to come again while no replica serves
_LEAST_SHARE = 0.5  # least assumed share of the nominal rate: a measurement of quieter times is too low


class Admission:
    """Bounds both queues in time, and together in bytes; what comes while nothing waits is always admitted.

    Args:
        limits: Limits of the dispatcher.
        rate: Rate at which work is done.
    """

    def __init__(self, limits: DispatchLimits, rate: DrainRate) -> None:
        self._limits = limits
        self._rate = rate
        # Indexed by whether a request is online. A request larger than the whole queue is admitted once nothing waits.
        # Such requests have an order of their own, or small ones would be told the time of the large ones.
        self._reservations = (Reservations(), Reservations())
        self._reservations_of_huge = (Reservations(), Reservations())

    def refusal(
        self, request: Request, *, waiting: int, queued_bytes: int, tokens_per_s: float, now: float
    ) -> Refuse | Separate | None:
        """Decide whether a request is refused, and when it will be admitted instead.

        A shared request is separated rather than refused: each of its clients is judged, and told a time, alone.

        Args:
            request: Request that has just come.
            waiting: Estimated tokens of its class that wait.
            queued_bytes: Bytes of the bodies of both classes that wait.
            tokens_per_s: Combined throughput of all replicas.
            now: Time in seconds.

        Returns:
            None if it is admitted.
        """
        key = request.handle.key
        reservations, huge = self._reservations[request.is_online], self._reservations_of_huge[request.is_online]
        limits = self._limits
        is_large = queued_bytes > 0 and queued_bytes + request.size_bytes > limits.queue_bytes
        if not is_large and (reservations.redeem(key, now) or huge.redeem(key, now)):
            return None
        room = (limits.online_queue_s if request.is_online else limits.bulk_queue_s) * tokens_per_s
        is_long = tokens_per_s > 0 and waiting > 0 and waiting + reservations.soon(now) + request.tokens > room
        if not is_long and not is_large:
            return None
        if request.is_shared:
            return Separate(request)
        excess = max(float(request.tokens), waiting + reservations.likely + request.tokens - room)
        if request.tokens > room:
            huge.soon(now)  # drops the reservations that have lapsed
            excess = min(excess, waiting + reservations.likely + huge.likely)
            reservations = huge
        at = reservations.make(key, request.tokens, now + self._seconds(excess, tokens_per_s))
        after_s = max(1, ceil(at - now))
        error: ServingError = Saturated(after_s) if request.is_online else Overloaded(retry_after_s=after_s)
        return Refuse(request, error, "online-queue" if request.is_online else "bulk-queue")

    def _seconds(self, tokens: float, tokens_per_s: float) -> float:
        """Return the seconds until so many tokens are worked off."""
        rate = max(self._rate.tokens_per_s, _LEAST_SHARE * tokens_per_s)
        return tokens / rate if rate > 0 else _UNKNOWN_S
