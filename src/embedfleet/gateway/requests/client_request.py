"""One client's request until it is answered, and the parts that it is cut into."""

import logging
from collections.abc import Sequence

import orjson

from embedfleet.dialects.error_reply import render_error
from embedfleet.dialects.splitting.compute_headers import join_headers
from embedfleet.dialects.splitting.texts import Texts
from embedfleet.errors import BadGateway, Internal, Malformed, RequestError, ServingError
from embedfleet.gateway.dispatch import splitting
from embedfleet.gateway.dispatch.dispatcher import THROTTLED
from embedfleet.gateway.dispatch.replica import Replica
from embedfleet.gateway.dispatch.request import Batch, Part
from embedfleet.gateway.requests.access_log import log_access
from embedfleet.gateway.requests.attempt import OK, Asked, AskedRequest, Attempt, Desk, Stream, longest_answer
from embedfleet.gateway.upstream.forwarding import RequestFields
from embedfleet.gateway.upstream.reply import ReplyHead
from embedfleet.gateway.upstream.transport import Pool
from embedfleet.http.cors import CORS
from embedfleet.http.exchange import Exchange
from embedfleet.http.message import Header

log = logging.getLogger(__name__)


_HEAD_BYTES = 200  # about what each part's head has besides the client's fields
_OWN = frozenset({b"date", b"x-request-id"})  # fields that every answer gets here


class Flight(AskedRequest):
    """See the module.

    Args:
        desk: told of what happens.
        exchange: with the client.
        fields: of its head.
        asked_texts: of its body, None if they are not known.
        costs: of each of them, in estimated tokens; of the whole body if they are not known.
        tokens: of all of them.
        online: its class.
        now: in seconds.
        timeout_s: after which the client does not want it any more.

    Attributes:
        request_id: the client's, else ours.
        at: the replica that any of it was sent to last; empty before the first.
        refusal: what is wrong with it, so that no replica is to see it; None if nothing is.
    """

    at = ""
    refusal: RequestError | ServingError | None = None
    _streaming: Attempt | None = None
    _fingerprints: Sequence[int] = ()
    _answers: list[tuple[Sequence[int], Attempt]]  # once it is divided

    def __init__(
        self,
        desk: Desk,
        exchange: Exchange,
        fields: RequestFields,
        asked_texts: Texts | None,
        costs: list[int],
        *,
        tokens: int,
        online: bool,
        now: float,
        timeout_s: float,
    ) -> None:
        super().__init__(
            tokens=tokens,
            texts=1 if asked_texts is None else asked_texts.count + asked_texts.extra_inputs,
            size_bytes=len(exchange.body),
            online=online,
            now=now,
            timeout_s=timeout_s,
        )
        self.desk = desk
        self.exchange = exchange
        self.fields = fields
        self.asked_texts = asked_texts
        self.attempts = []
        if asked_texts is None:
            self.is_work = False
        self.request_id = fields.request_id or desk.request_id()
        self._costs = costs

    @property
    def stream(self) -> Stream | None:
        """See `Asked`."""
        return self

    # what the dispatcher asks

    @property
    def fingerprints(self) -> Sequence[int]:
        """See `Chunk`."""
        if not self._fingerprints:
            texts = self.asked_texts
            try:
                self._fingerprints = texts.fingerprints() if texts is not None else [self.key]
            except orjson.JSONEncodeError:  # nested deeper than can be written: it is never cut
                self._fingerprints = [self.key]
        return self._fingerprints

    @property
    def key(self) -> int:
        """See `Request`."""
        return hash((self.exchange.target, self.exchange.body))

    def divide(self, *, by_length: bool) -> Batch | None:
        """See `Request`."""
        texts = self.asked_texts
        if texts is None or not texts.can_split or texts.repeats_a_key(self.exchange.body):
            return None
        self._answers = []
        order: Sequence[int] = splitting.by_length(self._costs) if by_length else range(texts.count)
        try:
            frame_bytes = texts.frame_size() + len(self.fields.line) + _HEAD_BYTES
            return Batch(self._costs, texts.sizes(), order, texts.extra_inputs, frame_bytes)
        except orjson.JSONEncodeError:  # it nests deeper than can be written
            return None

    def part(self, items: Sequence[int], tokens: int) -> "FlightPart":
        """See `Request`."""
        assert self.asked_texts is not None, "only what is known is cut"
        return FlightPart(self, self.asked_texts, items, tokens)

    # what replicas are asked

    def send(self, replica: Replica, pool: Pool, now: float) -> None:
        """Send it whole to a replica."""
        self.note_sent(replica.id, now)
        data = self.wire(self.exchange.body, pool)
        pool.send(self.attempt(self.desk, replica), data, now, is_head=self.exchange.head.method == b"HEAD")

    def wire(self, body: bytes, pool: Pool) -> bytes:
        """The client's request with this body, as it goes to a replica."""
        peer = self.exchange.peer
        return self.fields.wire(pool.prefix, pool.last_line, body=body, request_id=self.request_id, peer=peer)

    def note_sent(self, replica: str, now: float) -> None:
        """Any of it is being sent to a replica."""
        if not self.at:
            self.desk.tally.waited(now - self.arrived, online=self.online)
        self.at = replica

    def check(self, reply: bytes) -> None:
        """See `Asked`."""
        if self.asked_texts is not None:
            self.asked_texts.check(self.asked_texts.count, reply)

    def answered(self, attempt: Attempt) -> None:
        """See `Asked`: it is relayed when the dispatcher says so."""

    def keep(self, items: Sequence[int], attempt: Attempt) -> None:
        """Some of its texts were answered."""
        self._answers.append((items, attempt))

    # the answer

    def relay(self, now: float) -> None:
        """Pass on the reply that is there; of one that is still coming what there is of it."""
        attempt, self.reply = self.reply, None  # they refer to each other: else a cycle for the collector
        assert attempt is not None, "the dispatcher relays only what was answered"
        head, exchange = attempt.head, self.exchange
        if attempt.connection is not None:
            self._streaming = attempt
            exchange.on_drain = self._drain
            exchange.start(head.status, [], head.length if head.length >= 0 else None, self._reply_fields(head))
            exchange.write(attempt.body)
            attempt.body = b""
            return
        if head.opening and exchange.is_plain:
            request_id = b"" if head.has_request_id else self.request_id
            exchange.answer(b"".join((head.opening, request_id, b"\r\n\r\n", attempt.body)))
        else:
            exchange.pass_on(head.status, self._reply_fields(head), attempt.body)
        self._done(head.status, now)

    def relay_error(self, items: Sequence[int], attempt: Attempt, now: float) -> None:
        """Pass on the error that some of its texts met with, as the client's whole answer."""
        body, head = attempt.body, attempt.head
        if self.asked_texts is not None and len(items) == 1:
            body = self.asked_texts.locate_error(items[0], body)
        self.exchange.pass_on(head.status, self._reply_fields(head), body)
        self._done(head.status, now)

    def join(self) -> None:
        """Answer with what the parts were answered."""
        assert self.asked_texts is not None, "only what was cut is joined"
        try:
            body = self.asked_texts.join([(items, attempt.body) for items, attempt in self._answers])
        except Malformed as error:  # each was looked at; together they make no sense
            self.refuse(BadGateway(f"the replicas' answers do not fit together: {error}"), "join")
            return
        joined = join_headers([attempt.head.headers for _, attempt in self._answers])
        headers = [header for header in joined if header[0] not in _OWN]
        chunks = (b"x-chunks", b"%d" % len(self._answers))
        self.exchange.respond(OK, [*headers, chunks, self._id_header], body)
        self._done(OK, self.desk.now())

    def refuse(self, error: RequestError | ServingError, reason: str = "") -> None:
        """Answer with an error of ours."""
        if reason:
            self.desk.tally.shed(reason)
        status, headers, body = render_error(self.fields.path, error)
        shed = [(b"x-shed-reason", reason.encode())] if reason else []
        self.exchange.respond(status, [*headers, *CORS, *shed, self._id_header], body)
        self._done(status, self.desk.now())

    def fault(self, now: float) -> None:
        """See `AskedRequest`."""
        del now
        if self.exchange.gone:
            return
        if self.exchange.begun:
            self.exchange.abort()
        else:
            self.refuse(Internal("the gateway failed on this request, its log says how"))

    @property
    def _id_header(self) -> Header:
        return b"x-request-id", self.request_id

    def _reply_fields(self, head: ReplyHead) -> bytes:
        """The reply's fields, and those that we add."""
        fields = head.fields
        if not head.has_request_id:
            fields = b"%bx-request-id: %b\r\n" % (fields, self.request_id)
        if head.status == THROTTLED and not head.has_retry_after:
            fields += b"retry-after: 1\r\n"
        return fields

    # a reply that is passed on as it comes, see `Stream`

    def pass_on(self, data: bytes) -> None:
        """More of it."""
        self.exchange.write(data)

    def pass_on_end(self) -> None:
        """All of it."""
        attempt, self._streaming = self._streaming, None  # they refer to each other: else a cycle for the collector
        assert attempt is not None, "what ends has begun"
        self.exchange.finish()
        self._done(attempt.head.status, self.desk.now())

    def break_off(self) -> None:
        """The rest of it never comes."""
        log.warning("replica %s broke a streamed reply", self.at, extra={"replica": self.at})
        self.exchange.abort()  # and `gone` follows

    def _done(self, status: int, now: float) -> None:
        """It was answered."""
        if self.batch is not None:
            self._answers.clear()  # they refer to parts that refer to this
        elapsed = now - self.arrived
        self.desk.tally.answered(status, elapsed, online=self.online)
        if self.desk.access_log:
            log_access(self.exchange, status, elapsed, replica=self.at, request_id=self.request_id)

    # what the client does

    def gone(self) -> None:
        """The client left."""
        self.desk.tally.left()
        if self._streaming is not None:
            self._streaming.cancel()
            self._streaming = None
        self.desk.left(self)

    def _drain(self, ready: bool) -> None:
        if self._streaming is not None and self._streaming.connection is not None:
            self._streaming.pause(not ready)


class FlightPart(Part, Asked):
    """Some texts of a `Flight`."""

    def __init__(self, flight: Flight, texts: Texts, items: Sequence[int], tokens: int) -> None:
        super().__init__(flight, items, tokens)
        self.attempts = []
        self._flight = flight
        self._texts = texts

    @property
    def fingerprints(self) -> Sequence[int]:
        """See `Chunk`."""
        whole = self._flight.fingerprints
        return [whole[item] for item in self.items]

    def send(self, replica: Replica, pool: Pool, now: float) -> None:
        """Send it to a replica."""
        flight = self._flight
        flight.note_sent(replica.id, now)
        data = flight.wire(self._texts.body(self.items), pool)
        pool.send(self.attempt(flight.desk, replica), data, now, is_head=False)

    @property
    def most_bytes(self) -> int:
        """See `Asked`; of some answers there is a vector, or as much, for each token."""
        is_per_token = self._texts.reply.is_per_token
        return longest_answer(self.texts + self.tokens) if is_per_token else longest_answer(self.texts)

    def check(self, reply: bytes) -> None:
        """See `Asked`."""
        self._texts.check(len(self.items), reply)

    def answered(self, attempt: Attempt) -> None:
        """See `Asked`."""
        self._flight.keep(self.items, attempt)
        self.reply = None

    def relay(self, now: float) -> None:
        """The whole request is answered with the error that it met with."""
        assert self.reply is not None, "the dispatcher relays only what was answered"
        self._flight.relay_error(self.items, self.reply, now)
