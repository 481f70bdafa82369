"""Answers that consist of kept answers only."""

from typing import Final

from embedfleet.gateway.cache.cache_context import CacheContext
from embedfleet.gateway.requests.access_log import log_access
from embedfleet.gateway.upstream.forwarding import RequestFields
from embedfleet.http.cors import CORS
from embedfleet.http.exchange import Exchange
from embedfleet.http.message import JOIN_BYTES, JSON, status_line

_OK: Final = 200
_OK_LINE: Final = status_line(_OK)
_OPENING: Final = b"".join([b"%b: %b\r\n" % header for header in (JSON, *CORS)])
_FIELDS: Final = (
    _OPENING + b"x-compute-type: cache\r\nx-compute-time: 0\r\nx-tokenization-time: 0\r\nx-queue-time: 0\r\n"
    b"x-inference-time: 0\r\nx-total-time: %d\r\nx-compute-characters: %d\r\n%bx-cached-texts: %d\r\n"
    b"x-request-id: %b\r\n%b"
)
_PLAIN: Final = _OK_LINE + _FIELDS + b"content-length: %d\r\n\r\n%b"


def answer_cached(
    context: CacheContext,
    exchange: Exchange,
    fields: RequestFields,
    body: bytes,
    *,
    characters: int,
    tokens: int,
    texts: int,
    is_online: bool,
    elapsed: float,
) -> None:
    """Answer a request for which nothing was computed.

    Args:
        context: What all requests of the cache share.
        exchange: Exchange with the client.
        fields: Fields of the request's head.
        body: Body of the answer.
        characters: Characters of all texts.
        tokens: Tokens of all texts; -1 if they are unknown.
        texts: Number of texts.
        is_online: Whether the request goes before bulk work.
        elapsed: Time since the request arrived, in seconds.
    """
    requests = context.requests
    request_id = fields.request_id or requests.request_id()
    counted = b"" if tokens < 0 else b"x-compute-tokens: %d\r\n" % tokens
    told = (round(elapsed * 1000), characters, counted, texts, request_id, exchange.date)
    if exchange.is_plain and len(body) <= JOIN_BYTES:
        exchange.answer(_PLAIN % (*told, len(body), body))
    else:
        exchange.pass_on(_OK, _FIELDS % told, body)
    requests.counters.add_answer(_OK, elapsed, is_online=is_online)
    if requests.logs_access:
        log_access(exchange, _OK, elapsed, replica="cache", request_id=request_id)
