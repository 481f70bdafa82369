"""Which requests are let in, and when those that are not are to come again."""

from math import ceil

from embedfleet.errors import Overloaded, Saturated, ServingError
from embedfleet.gateway.dispatch.command import Refuse, Separate
from embedfleet.gateway.dispatch.estimate import DrainRate
from embedfleet.gateway.dispatch.limits import DispatchLimits
from embedfleet.gateway.dispatch.request import Request
from embedfleet.gateway.dispatch.reservations import Promises

_UNKNOWN_S = 5.0  # until room is there, while no replica serves
_LEAST_SHARE = 0.5  # of what replicas can do, that they are taken to do: a measurement of quieter times says too little


class Admission:
    """Both queues are bounded in time, and together in bytes; what comes while nothing waits is within all bounds.

    Args:
        limits: of the dispatcher.
        rate: at which work is done.
    """

    def __init__(self, limits: DispatchLimits, rate: DrainRate) -> None:
        self._limits = limits
        self._rate = rate
        # By whether they are online. What alone is more than may wait is let in once nothing waits, in its own order:
        # else those that are small would hear its time.
        self._promises = (Promises(), Promises())
        self._promises_of_huge = (Promises(), Promises())

    def refusal(
        self, request: Request, *, waiting: int, queued_bytes: int, tokens_per_s: float, now: float
    ) -> Refuse | Separate | None:
        """Why a request is not let in, and when it will be; None if it is let in.

        One that asks for several clients is not refused: each of them is to be judged, and told when to come again.

        Args:
            request: the client's.
            waiting: tokens of its class that wait.
            queued_bytes: of both classes.
            tokens_per_s: that all replicas do together.
            now: in seconds.
        """
        promises, huge = self._promises[request.online], self._promises_of_huge[request.online]
        limits = self._limits
        is_large = queued_bytes > 0 and queued_bytes + request.size_bytes > limits.queue_bytes
        if not is_large and (promises.redeem(request.key, now) or huge.redeem(request.key, now)):
            return None
        room = (limits.online_queue_s if request.online else limits.bulk_queue_s) * tokens_per_s
        is_long = tokens_per_s > 0 and waiting > 0 and waiting + promises.soon(now) + request.tokens > room
        if not is_long and not is_large:
            return None
        if request.is_shared:
            return Separate(request)
        excess = max(float(request.tokens), waiting + promises.likely + request.tokens - room)
        if request.tokens > room:
            huge.soon(now)  # what has lapsed is not to come any more
            excess = min(excess, waiting + promises.likely + huge.likely)
            promises = huge
        at = promises.make(request.key, request.tokens, now + self._seconds(excess, tokens_per_s))
        after_s = max(1, ceil(at - now))
        error: ServingError = Saturated(after_s) if request.online else Overloaded(retry_after_s=after_s)
        return Refuse(request, error, "online-queue" if request.online else "bulk-queue")

    def _seconds(self, tokens: float, tokens_per_s: float) -> float:
        """Until so many are worked off."""
        rate = max(self._rate.tokens_per_s, _LEAST_SHARE * tokens_per_s)
        return tokens / rate if rate > 0 else _UNKNOWN_S
