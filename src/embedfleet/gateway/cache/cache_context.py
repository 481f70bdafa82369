"""What all requests of a gateway's cache share."""

import asyncio
import logging
import os
from collections.abc import Callable

from embedfleet.gateway.cache.answer_cache import AnswerCache
from embedfleet.gateway.cache.answer_keys import SECRET_BYTES, AnswerKeys
from embedfleet.gateway.cache.under_way import UnderWay
from embedfleet.gateway.dispatch.limits import DispatchLimits
from embedfleet.gateway.requests.context import RequestContext
from embedfleet.http.exchange import Exchange

log = logging.getLogger(__name__)


class CacheContext:
    """What all requests of a gateway's cache share.

    Args:
        most_bytes: Size of the cache in bytes.
        requests: Counters, clock and ids that all requests share.
        compute: Function that sends a request to the replicas.
        estimate: Function that estimates the tokens of a text from its number of characters.
        limits: Limits of the dispatcher.

    Attributes:
        answers: The answers that are kept.
        keys: Keys of the present model's answers.
        under_way: The computations that have not ended.
        requests: Counters, clock and ids that all requests share.
        compute: Function that sends a request to the replicas.
        estimate: Function that estimates the tokens of a text from its number of characters.
        limits: Limits of the dispatcher.
        hits: Number of texts that were answered from the cache.
        joined: Number of texts that waited for an equal text under way.
        misses: Number of texts that were sent to a replica.
        loop: Event loop, for timers.
    """

    def __init__(
        self,
        most_bytes: int,
        requests: RequestContext,
        compute: Callable[[Exchange], None],
        estimate: Callable[[int], int],
        limits: DispatchLimits,
    ) -> None:
        self.answers = AnswerCache(most_bytes)
        self.keys = AnswerKeys(os.urandom(SECRET_BYTES))
        self.under_way = UnderWay()
        self.requests = requests
        self.compute = compute
        self.estimate = estimate
        self.limits = limits
        self.hits = 0
        self.joined = 0
        self.misses = 0
        self.loop = asyncio.get_running_loop()

    def forget(self) -> None:
        """Drop all answers, because the pool has another model; answers under way are not kept either."""
        if self.answers:
            log.info("the cache drops %d answers of the former model", len(self.answers))
        self.answers.clear()
        self.keys = AnswerKeys(os.urandom(SECRET_BYTES))
