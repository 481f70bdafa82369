"""Intake of requests where the gateway has a cache: it answers what is known, and sends the rest to the replicas."""

import logging
from typing import Any, Final

import orjson

from embedfleet.dialects.coalescing import read_single
from embedfleet.dialects.request_texts import read_texts
from embedfleet.errors import Validation
from embedfleet.gateway.cache.answer_keys import BYPASS, scope_of
from embedfleet.gateway.cache.cache_context import CacheContext
from embedfleet.gateway.cache.cached_answer import answer_cached
from embedfleet.gateway.cache.cached_request import CachedRequest
from embedfleet.gateway.requests.context import RequestContext
from embedfleet.gateway.requests.intake import Intake
from embedfleet.gateway.settings import GatewaySettings
from embedfleet.gateway.upstream.forwarding import RequestFields
from embedfleet.http.exchange import Exchange
from embedfleet.metrics import Registry

log = logging.getLogger(__name__)

_LONE_BYTES: Final = 8192  # most bytes of a body that is read as a single text first


class CachedIntake:
    """Answers requests from the cache, and passes all others to the intake.

    Args:
        settings: Settings of the gateway.
        intake: Receiver of the requests that the cache cannot answer.
        requests: Counters, clock and ids that all requests share.

    Attributes:
        context: What all requests of the cache share.
    """

    def __init__(self, settings: GatewaySettings, intake: Intake, requests: RequestContext) -> None:
        self._intake = intake
        self._most_texts = settings.request_texts
        self.context = CacheContext(settings.cache_bytes, requests, intake.handle, intake.estimate, settings.dispatch)

    def handle(self, exchange: Exchange) -> None:
        """Answer a client's request from the cache, or pass it on, whole or in part."""
        try:
            if self._answer_lone(exchange):
                return
            request = self._read(exchange)
        except Exception:
            log.exception("the cache failed to read a request, which is passed on")
            request = None
        if request is None:
            self._intake.handle(exchange)
        else:
            request.start()

    def figures(self) -> dict[str, Any]:
        """Return the figures of the cache, for the gateway's ``/info``."""
        context = self.context
        asked = context.hits + context.joined + context.misses
        return {
            "answers": len(context.answers),
            "bytes": context.answers.used_bytes,
            "most_bytes": context.answers.most_bytes,
            "hits": context.hits,
            "joined": context.joined,
            "misses": context.misses,
            "hit_rate": round((context.hits + context.joined) / asked, 4) if asked else None,
        }

    def measure(self, registry: Registry) -> None:
        """Update the metrics of the cache."""
        context = self.context
        for result, count in (("hit", context.hits), ("joined", context.joined), ("miss", context.misses)):
            registry["embedfleet_cache_texts_total"].value(result).set(count)
        registry["embedfleet_cache_answers"].value().set(len(context.answers))
        registry["embedfleet_cache_bytes"].value().set(context.answers.used_bytes)

    def _answer_lone(self, exchange: Exchange) -> bool:
        """Answer a request for one vector if it is kept, the short way; return whether it is."""
        fields, body, context = exchange.head.note, exchange.body, self.context
        if not isinstance(fields, RequestFields) or not fields.may_coalesce or len(body) > _LONE_BYTES:
            return False
        scope = fields.scope
        lone = read_single(body) if scope is not None and scope != BYPASS else None
        if scope is None or lone is None:
            return False
        text, others = lone
        answer = context.answers.find(context.keys.of_lone(scope, text, others))
        if answer is None:
            return False
        context.hits += 1
        answer_cached(
            context,
            exchange,
            fields,
            answer.reply,
            characters=len(text),
            tokens=answer.tokens,
            texts=1,
            is_online=True,
            elapsed=0.0,
        )
        return True

    def _read(self, exchange: Exchange) -> CachedRequest | None:
        """Read a request; None if it is to be passed on as if there were no cache."""
        fields = RequestFields.of(exchange)
        scope = fields.scope
        if scope is None:
            scope = fields.scope = scope_of(exchange.head.target, exchange.head.headers)
        if fields.method != b"POST" or fields.fault or scope == BYPASS:
            return None
        body, context = exchange.body, self.context
        try:
            texts = read_texts(fields.path, fields.content_type, body, self._most_texts, self._intake.own_path)
            if texts is None or not texts.can_cache or texts.repeats_a_key(body):
                return None
            keys = context.keys.of(scope, texts)
        except (Validation, orjson.JSONEncodeError):  # the intake refuses it, or sends it as it is
            return None
        found = [context.answers.find(key) for key in keys]
        return CachedRequest(context, exchange, fields, texts, keys=keys, answers=found)
