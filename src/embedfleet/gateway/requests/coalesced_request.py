"""Small requests of several clients, sent as one request; if that fails, each is sent alone."""

from abc import ABCMeta, abstractmethod
from collections.abc import Sequence
from typing import Final

from mypy_extensions import mypyc_attr
from typing_extensions import override

from embedfleet.dialects.coalescing import fingerprints, split_vectors, write_batch
from embedfleet.dialects.splitting.apportioning import apportioned
from embedfleet.errors import RequestError, ServingError
from embedfleet.gateway.dispatch.request import Chunk, Request
from embedfleet.gateway.requests.access_log import log_access
from embedfleet.gateway.requests.coalescer import Group
from embedfleet.gateway.requests.context import RequestContext
from embedfleet.gateway.requests.delivery import OK, Delivery
from embedfleet.gateway.upstream.call import Call, CallPool
from embedfleet.gateway.upstream.reply import ReplyHead
from embedfleet.http.exchange import Exchange
from embedfleet.http.message import JOIN_BYTES, status_line

_OWN = frozenset({b"x-request-id", b"x-compute-tokens", b"x-compute-characters"})  # fields of one client's answer
_OK_LINE: Final = status_line(OK)
_FIELDS: Final = b"%bx-compute-characters: %d\r\nx-compute-tokens: %d\r\nx-request-id: %b\r\n"
_HEAD: Final = _FIELDS + b"content-length: %d\r\n\r\n"


@mypyc_attr(allow_interpreted_subclasses=True)
class Fallback(metaclass=ABCMeta):
    """Receiver of the single requests of a coalesced one that failed."""

    @abstractmethod
    def take_alone(self, exchange: Exchange, now: float) -> None:
        """Dispatch a client's request alone; ``now`` is the time at which it arrived."""

    @abstractmethod
    def refuse_alone(self, exchange: Exchange, now: float, error: RequestError | ServingError, reason: str) -> None:
        """Answer a client's request with an error of the gateway; ``now`` is the time at which it arrived."""


class CoalescedRequest(Delivery):
    """A group of requests for one vector each, sent as one request.

    Args:
        context: Counters, clock and ids that all requests share.
        fallback: Receiver of the single requests if the coalesced one fails.
        group: The requests, at least two.

    Attributes:
        body: Body of the coalesced request.
    """

    def __init__(self, context: RequestContext, fallback: Fallback, group: Group) -> None:
        self.body = write_batch(group.texts, group.others)
        self._context = context
        self._fallback = fallback
        self._group = group
        self._waiting = len(group.exchanges)  # number of clients that have not left
        self._vectors: Sequence[bytes | memoryview] = ()  # one vector per client, once there is a reply
        self._sent_to = ""

    @property
    @override
    def fingerprints(self) -> Sequence[int]:
        return fingerprints(self._group.texts, self._group.others)

    @override
    def wire(self, chunk: Chunk, pool: CallPool) -> bytes:
        fields, peer = self._group.fields, self._group.exchanges[0].peer
        request_id = fields.request_id or self._context.request_id()
        return fields.wire(pool.prefix, pool.last_line, body=self.body, request_id=request_id, peer=peer)

    @override
    def sent(self, chunk: Chunk, replica_id: str, now: float) -> None:
        if not self._sent_to:
            self._context.counters.add_wait(now - chunk.arrived, is_online=True, times=chunk.texts)
        self._sent_to = replica_id

    @override
    def check(self, chunk: Chunk, reply: bytes) -> None:
        self._vectors = split_vectors(chunk.texts, reply)

    @override
    def relay(self, chunk: Chunk, call: Call, now: float) -> None:
        if call.head.status != OK:
            self.separate(chunk.request, now)
            return
        context, group = self._context, self._group
        request_id, new_id = group.fields.request_id, context.request_id
        shared, elapsed = _shared_fields(call.head), now - chunk.arrived
        opening = _OK_LINE + shared
        tokens = apportioned(call.head.tokens or chunk.tokens, group.costs)
        for exchange, text, count, vector in zip(group.exchanges, group.texts, tokens, self._vectors, strict=True):
            own_id = request_id or new_id()
            length = len(vector) + 2  # with the two brackets
            if exchange.is_plain and length <= JOIN_BYTES:
                head = _HEAD % (opening, len(text), count, own_id, length)
                exchange.answer(b"".join((head, b"[", vector, b"]")))
            else:
                exchange.pass_on(OK, _FIELDS % (shared, len(text), count, own_id), b"[%b]" % bytes(vector))
            if context.logs_access:
                log_access(exchange, OK, elapsed, replica=call.pool.name, request_id=own_id)
        context.counters.add_answer(OK, elapsed, is_online=True, times=self._waiting)

    @override
    def refuse(self, request: Request, error: RequestError | ServingError, reason: str, now: float) -> None:
        for exchange in self._waiting_exchanges():
            self._fallback.refuse_alone(exchange, request.arrived, error, reason)

    @override
    def separate(self, request: Request, now: float) -> None:
        for exchange in self._waiting_exchanges():
            self._fallback.take_alone(exchange, request.arrived)  # the shared request was made when they arrived

    @override
    def fault(self, request: Request, now: float) -> None:
        self.separate(request, now)

    @override
    def client_left(self) -> bool:
        self._waiting -= 1
        return not self._waiting

    def _waiting_exchanges(self) -> list[Exchange]:
        """Return the exchanges whose clients are still connected and have no answer."""
        return [exchange for exchange in self._group.exchanges if not exchange.gone]


def _shared_fields(head: ReplyHead) -> bytes:
    """Return the fields of the reply that every client's answer gets."""
    return b"".join(b"%b: %b\r\n" % header for header in head.headers if header[0] not in _OWN)
