"""A client's request behind the cache: answers that are kept, answers under way, and texts sent to replicas."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Final

from typing_extensions import override

from embedfleet.dialects.error_reply import render_error
from embedfleet.dialects.splitting.texts import Texts
from embedfleet.errors import DeadlineExceeded
from embedfleet.gateway.cache.answer_cache import Answer
from embedfleet.gateway.cache.cache_context import CacheContext
from embedfleet.gateway.cache.cached_answer import answer_cached
from embedfleet.gateway.cache.computation import ReplicaComputation
from embedfleet.gateway.cache.under_way import Computation, Waiting
from embedfleet.gateway.dispatch.request import counts_as_online
from embedfleet.gateway.requests.access_log import log_access
from embedfleet.gateway.upstream.forwarding import RequestFields
from embedfleet.http.cors import CORS
from embedfleet.http.exchange import Exchange

log = logging.getLogger(__name__)

_OK: Final = 200
_THROTTLED: Final = 429
_FAILED: Final = 500
_CHARACTERS: Final = b"x-compute-characters: "
_COUNTS: Final = (_CHARACTERS, b"x-compute-tokens: ")  # fields that count the computed texts alone


class CachedRequest(Waiting):
    """A client's request, with the answers that it has so far.

    Args:
        context: What all requests of the cache share.
        exchange: Exchange with the client.
        fields: Fields of the request's head.
        texts: Texts of its body.
        keys: Key of each text.
        answers: Answer to each text; None where there is none yet.
    """

    def __init__(
        self,
        context: CacheContext,
        exchange: Exchange,
        fields: RequestFields,
        texts: Texts,
        *,
        keys: Sequence[bytes],
        answers: list[Answer | None],
    ) -> None:
        self._context = context
        self._exchange = exchange
        self._fields = fields
        self._texts = texts
        self._keys = keys
        self._answers = answers
        self._maker = context.keys
        self._cached = len(answers) - answers.count(None)
        self._is_online = True
        self._arrived = context.requests.now()
        self._awaited: dict[Computation, None] = {}  # in the order in which they began
        self._own: ReplicaComputation | None = None  # the one whose fields the answer gets
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Answer, or wait for the missing answers: those under way, and those of texts that are now sent."""
        try:
            self._start()
        except Exception as error:  # noqa: BLE001 - `_bypass` logs it
            self._bypass(error)

    @override
    def take(self, computation: Computation, answers: Mapping[bytes, Answer]) -> None:
        try:
            if computation in self._awaited:
                self._take(computation, answers)
        except Exception as error:  # noqa: BLE001 - `_bypass` logs it
            self._bypass(error)

    @override
    def lose(self, computation: Computation) -> None:
        try:
            if computation in self._awaited:
                self._lose(computation)
        except Exception as error:  # noqa: BLE001 - `_bypass` logs it
            self._bypass(error)

    # internals

    def _start(self) -> None:
        context, texts = self._context, self._texts
        self._is_online = self._class()
        context.hits += self._cached
        if self._cached == texts.count:
            self._answer()
            return
        self._exchange.on_gone = self._left
        items: list[int] = []
        asked: set[bytes] = set()
        for item, answer in enumerate(self._answers):
            if answer is not None:
                continue
            key = self._keys[item]
            computation = None if key in asked else context.under_way.find(key, is_online=self._is_online)
            if computation is not None:
                self._await(computation)
                self._cached += 1
                context.joined += 1
            elif key not in asked or texts.counts_tokens:
                asked.add(key)
                items.append(item)
        if self._awaited:
            self._set_timer()
        if items:
            self._compute(items)

    def _class(self) -> bool:
        """Return whether the request goes before bulk work, as the dispatcher would decide."""
        texts, stated = self._texts, self._fields.is_online
        if stated is not None:
            return stated
        if texts.count == 1:
            return True
        tokens = sum(texts.costs(self._context.estimate)) if not texts.is_rerank else 0
        return counts_as_online(texts.count, tokens, is_rerank=texts.is_rerank)

    def _await(self, computation: Computation) -> None:
        computation.waiting[self] = None
        self._awaited[computation] = None

    def _compute(self, items: Sequence[int]) -> None:
        """Send texts to the replicas."""
        keys = [self._keys[item] for item in items]
        own = ReplicaComputation(self._context, self, self._texts, items, keys, is_online=self._is_online)
        self._own = own
        self._awaited[own] = None
        self._context.misses += len(items)
        own.begin(self._exchange)

    def _take(self, computation: Computation, answers: Mapping[bytes, Answer]) -> None:
        del self._awaited[computation]
        if isinstance(computation, ReplicaComputation) and computation.owner is self and computation.is_whole:
            assert computation.exchange is not None, "it has been answered"
            self._quit()
            computation.exchange.replay(self._exchange)
            return
        found = self._answers
        for item, key in enumerate(self._keys):
            if found[item] is None:
                found[item] = answers.get(key)
        if self._maker is not self._context.keys:  # some answers may be of the former model
            self._ask_whole()
        elif None not in found:
            self._answer()

    def _lose(self, computation: Computation) -> None:
        del self._awaited[computation]
        assert isinstance(computation, ReplicaComputation), "the gateway has no other"
        if computation.owner is not self:
            lost = set(computation.keys)
            items = {key: item for item, key in enumerate(self._keys) if self._answers[item] is None and key in lost}
            self._compute(list(items.values()))
            return
        exchange = computation.exchange
        assert exchange is not None, "it has been answered"
        if computation.is_whole or exchange.status == _THROTTLED or exchange.status >= _FAILED:
            self._quit()
            exchange.replay(self._exchange)
        else:  # the error may name a text by its place, which the whole request alone has
            self._ask_whole()

    def _ask_whole(self) -> None:
        """Send the client's own body to the replicas, and answer with whatever the reply is."""
        self._quit()
        self._cached = 0
        self._set_timer()
        self._compute(range(self._texts.count))

    def _answer(self) -> None:
        """Answer from the answers to all texts."""
        texts, exchange = self._texts, self._exchange
        found = [answer for answer in self._answers if answer is not None]
        if len(found) == 1:
            body = found[0].reply
        else:
            body = texts.join([((item,), answer.reply) for item, answer in enumerate(found)])
        own, self._own = self._own, None
        self._quit()
        counts = [answer.tokens for answer in found]
        tokens = -1 if min(counts) < 0 else sum(counts)
        if own is not None and own.exchange is not None:
            exchange.pass_on(_OK, self._completed(own.exchange.fields, tokens), body)
            return  # the computation has counted and logged the request
        answer_cached(
            self._context,
            exchange,
            self._fields,
            body,
            characters=texts.characters(),
            tokens=tokens,
            texts=self._cached,
            is_online=self._is_online,
            elapsed=self._context.requests.now() - self._arrived,
        )

    def _completed(self, fields: bytes, tokens: int) -> bytes:
        """Return the fields of the computed part's reply, with the counts of the whole request."""
        kept = [line + b"\r\n" for line in fields.split(b"\r\n") if line and not line.startswith(_COUNTS)]
        if _CHARACTERS in fields:
            kept.append(b"%b%d\r\n" % (_CHARACTERS, self._texts.characters()))
        if tokens >= 0:
            kept.append(b"x-compute-tokens: %d\r\n" % tokens)
        return b"".join((*kept, b"x-cached-texts: %d\r\n" % self._cached))

    def _count(self, status: int, elapsed: float, request_id: bytes) -> None:
        context = self._context.requests
        context.counters.add_answer(status, elapsed, is_online=self._is_online)
        if context.logs_access:
            log_access(self._exchange, status, elapsed, replica="cache", request_id=request_id)

    # ends other than an answer

    def _left(self) -> None:
        """Handle a client that left; computations that others wait for go on."""
        if not self._quit():  # otherwise it is counted where the computation ends
            self._context.requests.counters.add_client_gone()

    def _quit(self) -> bool:
        """Wait for nothing any more; return whether a computation was ended by that."""
        self._stop_timer()
        if not self._awaited:
            return False
        awaited, self._awaited = list(self._awaited), {}
        ended = [each.leave(self) for each in awaited if isinstance(each, ReplicaComputation)]
        return any(ended)

    def _set_timer(self) -> None:
        """Set the deadline, which a computation of another request does not know."""
        if self._timer is not None:
            return
        limits = self._context.limits
        default = limits.online_deadline_s if self._is_online else limits.bulk_deadline_s
        at = self._arrived + (self._fields.timeout_s or default)
        self._timer = self._context.loop.call_at(at, self._expire)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _expire(self) -> None:
        self._timer = None
        if self._exchange.gone:
            return
        elapsed = self._context.requests.now() - self._arrived
        self._context.requests.counters.add_refusal("deadline")
        error = DeadlineExceeded(f"not answered in {elapsed:.1f} s, which is its deadline")
        self._quit()
        request_id = self._fields.request_id or self._context.requests.request_id()
        status, headers, body = render_error(self._fields.path, error)
        own = ((b"x-shed-reason", b"deadline"), (b"x-request-id", request_id))
        self._exchange.respond(status, [*headers, *CORS, *own], body)
        self._count(status, elapsed, request_id)

    def _bypass(self, error: Exception) -> None:
        """Handle a fault of the cache's own code: the request is sent to the replicas as if there were no cache."""
        log.error("the cache failed on a request, which is sent to a replica", exc_info=error)
        self._quit()
        if self._exchange.begun:
            self._exchange.abort()
        elif not self._exchange.gone:
            self._context.compute(self._exchange)
