"""A client's request, from its body to its answer."""

import logging
from collections.abc import Sequence

import orjson
from typing_extensions import override

from embedfleet.dialects.error_reply import render_error
from embedfleet.dialects.splitting.compute_headers import join_headers
from embedfleet.dialects.splitting.texts import Texts
from embedfleet.errors import BadGateway, Internal, Malformed, RequestError, ServingError
from embedfleet.gateway.dispatch import splitting
from embedfleet.gateway.dispatch.dispatcher import THROTTLED
from embedfleet.gateway.dispatch.request import Chunk, Request, SplitState
from embedfleet.gateway.requests.access_log import log_access
from embedfleet.gateway.requests.context import RequestContext
from embedfleet.gateway.requests.delivery import OK, Delivery, longest_answer
from embedfleet.gateway.upstream.call import Call, CallPool
from embedfleet.gateway.upstream.forwarding import RequestFields
from embedfleet.gateway.upstream.reply import ReplyHead
from embedfleet.http.cors import CORS
from embedfleet.http.exchange import Exchange
from embedfleet.http.message import Header

log = logging.getLogger(__name__)

_HEAD_BYTES = 200  # approximate bytes of each part's head besides the client's fields
_OWN = frozenset({b"date", b"x-request-id"})  # fields that the gateway sets in every answer


class ClientRequest(Delivery):
    """A client's request: its texts, the answers to its parts so far, and the exchange for the answer.

    Args:
        context: Counters, clock and ids that all requests share.
        exchange: Exchange with the client.
        fields: Fields of the request's head.
        texts: Texts of its body; None if they are unknown.
        costs: Estimated tokens of each text; of the whole body if the texts are unknown.

    Attributes:
        exchange: Exchange with the client.
        fields: Fields of the request's head.
        texts: Texts of its body; None if they are unknown.
        costs: Estimated tokens of each text; of the whole body if the texts are unknown.
        sent_to: Name of the replica that got a chunk of the request last; empty before the first send.
        refusal: Error with which the request is refused before any replica gets it; None if it is valid.
    """

    sent_to = ""
    refusal: RequestError | ServingError | None = None
    _streaming: Call | None = None
    _fingerprints: Sequence[int] = ()
    _answers: list[tuple[Sequence[int], ReplyHead, bytes]]  # indices and reply of each answered part

    def __init__(
        self, context: RequestContext, exchange: Exchange, fields: RequestFields, texts: Texts | None, costs: list[int]
    ) -> None:
        self._context = context
        self.is_streamed = exchange.can_stream
        if exchange.head.method == b"HEAD":
            self.is_head = True
        self.request_id = fields.request_id or context.request_id()
        self.exchange = exchange
        self.fields = fields
        self.texts = texts
        self.costs = costs

    # for the dispatcher

    @property
    @override
    def key(self) -> int:
        return hash((self.exchange.target, self.exchange.body))

    @property
    @override
    def fingerprints(self) -> Sequence[int]:
        if not self._fingerprints:
            try:
                self._fingerprints = self.texts.fingerprints() if self.texts is not None else [self.key]
            except orjson.JSONEncodeError:  # nested too deep to be written, so it is never split
                self._fingerprints = [self.key]
        return self._fingerprints

    @override
    def split(self, *, by_length: bool) -> SplitState | None:
        texts = self.texts
        if texts is None or not texts.can_split or texts.repeats_a_key(self.exchange.body):
            return None
        self._answers = []
        order: Sequence[int] = splitting.by_length(self.costs) if by_length else range(texts.count)
        try:
            frame_bytes = texts.frame_size() + len(self.fields.line) + _HEAD_BYTES
            return SplitState(self.costs, texts.sizes(), order, texts.extra_inputs, frame_bytes)
        except orjson.JSONEncodeError:  # nested too deep to be written
            return None

    # requests to replicas

    @override
    def wire(self, chunk: Chunk, pool: CallPool) -> bytes:
        body = self.exchange.body
        if chunk.items:
            assert self.texts is not None, "only known texts are split"
            body = self.texts.body(chunk.items)
        peer = self.exchange.peer
        return self.fields.wire(pool.prefix, pool.last_line, body=body, request_id=self.request_id, peer=peer)

    @override
    def sent(self, chunk: Chunk, replica_id: str, now: float) -> None:
        if not self.sent_to:
            self._context.counters.add_wait(now - chunk.arrived, is_online=chunk.is_online)
        self.sent_to = replica_id

    @override
    def check(self, chunk: Chunk, reply: bytes) -> None:
        if self.texts is not None:
            self.texts.check(len(chunk.items) or self.texts.count, reply)

    @override
    def most_bytes(self, chunk: Chunk) -> int:
        if self.texts is not None and self.texts.reply.is_per_token:
            return longest_answer(chunk.texts + chunk.tokens)
        return longest_answer(chunk.texts)

    # the answer

    @override
    def keep(self, chunk: Chunk, call: Call) -> None:
        self._answers.append((chunk.items, call.head, call.body))

    @override
    def relay(self, chunk: Chunk, call: Call, now: float) -> None:
        head, body, exchange = call.head, call.body, self.exchange
        if call.connection is not None:
            self._begin_stream(call)
            return
        if head.opening and exchange.is_plain and not chunk.items:
            request_id = b"" if head.has_request_id else self.request_id
            exchange.answer(b"".join((head.opening, request_id, b"\r\n\r\n", body)))
        else:
            if self.texts is not None and len(chunk.items) == 1:
                body = self.texts.locate_error(chunk.items[0], body)  # an error may name a text by its index
            exchange.pass_on(head.status, self._reply_fields(head), body)
        self._done(chunk, head.status, now)

    @override
    def join(self, request: Request, now: float) -> None:
        assert self.texts is not None, "only known texts are split"
        try:
            body = self.texts.join([(items, body) for items, _, body in self._answers])
        except Malformed as error:  # each reply is valid alone, but they do not fit together
            self.refuse(request, BadGateway(f"the replicas' answers do not fit together: {error}"), "join", now)
            return
        joined = join_headers([head.headers for _, head, _ in self._answers])
        headers = [header for header in joined if header[0] not in _OWN]
        chunks = (b"x-chunks", b"%d" % len(self._answers))
        self.exchange.respond(OK, [*headers, chunks, self._id_header], body)
        self._done(request, OK, now)

    @override
    def refuse(self, request: Request, error: RequestError | ServingError, reason: str, now: float) -> None:
        if reason:
            self._context.counters.add_refusal(reason)
        status, headers, body = render_error(self.fields.path, error)
        shed = [(b"x-shed-reason", reason.encode())] if reason else []
        self.exchange.respond(status, [*headers, *CORS, *shed, self._id_header], body)
        self._done(request, status, now)

    @override
    def fault(self, request: Request, now: float) -> None:
        if self.exchange.gone:
            return
        if self.exchange.begun:
            self.exchange.abort()
        else:
            self.refuse(request, Internal("the gateway failed on this request; its log has the cause"), "", now)

    @override
    def client_left(self) -> bool:
        if self._streaming is not None:
            self._streaming.cancel()
            self._streaming = None
        return True

    @property
    def _id_header(self) -> Header:
        return b"x-request-id", self.request_id

    def _reply_fields(self, head: ReplyHead) -> bytes:
        """Return the fields of the reply, with those that the gateway adds."""
        fields = head.fields
        if not head.has_request_id:
            fields = b"%bx-request-id: %b\r\n" % (fields, self.request_id)
        if head.status == THROTTLED and not head.has_retry_after:
            fields += b"retry-after: 1\r\n"
        return fields

    def _done(self, chunk: Chunk, status: int, now: float) -> None:
        """Count and log the answer."""
        elapsed, context = now - chunk.arrived, self._context
        context.counters.add_answer(status, elapsed, is_online=chunk.is_online)
        if context.logs_access:
            log_access(self.exchange, status, elapsed, replica=self.sent_to, request_id=self.request_id)

    # a streamed reply

    def _begin_stream(self, call: Call) -> None:
        """Pass on the beginning of a reply; `pass_on` gets the rest."""
        head, exchange = call.head, self.exchange
        self._streaming = call
        exchange.on_drain = self._drain
        exchange.start(head.status, [], head.length if head.length >= 0 else None, self._reply_fields(head))
        exchange.write(call.body)
        call.body = b""

    @override
    def pass_on(self, data: bytes) -> None:
        self.exchange.write(data)

    @override
    def end(self, request: Request, now: float) -> None:
        call, self._streaming = self._streaming, None  # they refer to each other: this breaks the cycle
        assert call is not None, "only a reply that has begun can end"
        self.exchange.finish()
        self._done(request, call.head.status, now)

    @override
    def break_off(self) -> None:
        log.warning("replica %s broke a streamed reply", self.sent_to, extra={"replica": self.sent_to})
        self.exchange.abort()  # this leads to `client_left`

    def _drain(self, ready: bool) -> None:
        """Pause the reading of a streamed reply while the client is slow, or resume it."""
        if self._streaming is not None and self._streaming.connection is not None:
            self._streaming.pause(not ready)
