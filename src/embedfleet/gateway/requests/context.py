"""The context that all requests of a service share: counters, clock, access log, ids."""

import os
from collections.abc import Callable
from itertools import count

from embedfleet.gateway.counters import Counters


class RequestContext:
    """Counters, clock, access log and ids that all requests of a service share.

    Args:
        counters: Metrics of the gateway.
        now: Clock of the event loop, in seconds.
        logs_access: Whether each request is logged as a line.

    Attributes:
        counters: Metrics of the gateway.
        now: Clock of the event loop, in seconds.
        logs_access: Whether each request is logged as a line.
    """

    def __init__(self, counters: Counters, now: Callable[[], float], *, logs_access: bool) -> None:
        self.counters = counters
        self.now = now
        self.logs_access = logs_access
        self._id_prefix = os.urandom(6).hex().encode()
        self._numbers = count(1)

    def request_id(self) -> bytes:
        """Return a new id, unique across processes."""
        return b"%b-%x" % (self._id_prefix, next(self._numbers))
