"""The computation of some of a request's texts at the replicas, and the answers that come of it."""

import logging
from collections.abc import Mapping, Sequence
from typing import Final

from embedfleet.dialects.splitting.apportioning import apportioned
from embedfleet.dialects.splitting.texts import Texts
from embedfleet.errors import Malformed
from embedfleet.gateway.cache.answer_cache import Answer
from embedfleet.gateway.cache.cache_context import CacheContext
from embedfleet.gateway.cache.computed_exchange import ComputedExchange
from embedfleet.gateway.cache.under_way import Computation, Waiting
from embedfleet.http.exchange import Exchange

log = logging.getLogger(__name__)

_OK: Final = 200
_TOKENS: Final = b"x-compute-tokens: "
_MOST_DIGITS: Final = 15


class ReplicaComputation(Computation):
    """Some of a request's texts, on their way to the replicas and back.

    Args:
        context: What all requests of the cache share.
        owner: Request whose texts they are.
        texts: All texts of the request.
        items: Indices of the texts that are computed.
        keys: Key of each text that is computed.
        is_online: Whether the texts go before bulk work.

    Attributes:
        owner: Request whose texts they are.
        is_whole: Whether all texts of the request are computed, so that its body is sent as it is.
        exchange: Exchange that gets the reply.
    """

    def __init__(
        self,
        context: CacheContext,
        owner: Waiting,
        texts: Texts,
        items: Sequence[int],
        keys: Sequence[bytes],
        *,
        is_online: bool,
    ) -> None:
        super().__init__(keys, is_online=is_online)
        self.owner = owner
        self.is_whole = len(items) == texts.count
        self.waiting[owner] = None
        self.exchange: ComputedExchange | None = None
        self._context = context
        self._texts = texts
        self._items = items
        self._maker = context.keys

    def begin(self, client: Exchange) -> None:
        """Send the texts to the replicas.

        Args:
            client: Exchange with the client that asks.
        """
        body = client.body if self.is_whole else self._texts.body(self._items)
        exchange = self.exchange = ComputedExchange(client, body)
        exchange.on_done = self._done
        self._context.under_way.begin(self)
        self._context.compute(exchange)

    def leave(self, request: Waiting) -> bool:
        """Take a request off; return whether nobody waits any more, so that the computation has been ended."""
        under_way = self._context.under_way
        if not under_way.leave(self, request):
            return False
        under_way.end(self)
        if self.exchange is not None:
            self.exchange.leave()
        return True

    def _done(self) -> None:
        """Keep the answers, and give them to all requests that wait."""
        waiting = self._context.under_way.end(self)
        answers = self._answers()
        for request in waiting:
            if answers is None:
                request.lose(self)
            else:
                request.take(self, answers)

    def _answers(self) -> Mapping[bytes, Answer] | None:
        """Read the answers to all texts; None if the reply is an error."""
        exchange, context = self.exchange, self._context
        assert exchange is not None, "it has been answered"
        if exchange.status != _OK:
            return None
        costs = self._costs()
        try:
            replies = self._texts.reply.separate(exchange.answer_body, costs)
        except Malformed as error:  # the gateway has checked it, so this is its own fault
            log.error("a checked reply cannot be split: %s", error)  # noqa: TRY400 - the message is enough
            return None
        total = _tokens(exchange.fields)
        tokens = [-1] * len(costs) if total < 0 else apportioned(total, costs)
        rows = zip(self.keys, replies, tokens, strict=True)
        answers = {key: Answer(reply, count) for key, reply, count in rows}
        if self._maker is context.keys and _may_keep(exchange.fields):
            for key, answer in answers.items():
                context.answers.put(key, answer)
        return answers

    def _costs(self) -> list[int]:
        """Estimate the tokens of each text that was computed."""
        if len(self._items) == 1:
            return [1]
        costs = self._texts.costs(self._context.estimate)
        return [costs[item] for item in self._items]


def _tokens(fields: bytes) -> int:
    """Return the tokens that a reply states; -1 if it does not."""
    start = fields.find(_TOKENS)
    if start < 0:
        return -1
    value = fields[start + len(_TOKENS) : fields.find(b"\r\n", start)]
    return int(value) if value.isdigit() and len(value) <= _MOST_DIGITS else -1


def _may_keep(fields: bytes) -> bool:
    """Return whether a reply is meant for others too."""
    if b"set-cookie:" in fields:
        return False
    start = fields.find(b"cache-control:")
    if start < 0:
        return True
    value = fields[start : fields.find(b"\r\n", start)].lower()
    return b"no-store" not in value and b"private" not in value
