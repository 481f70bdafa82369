"""Small requests that came at the same moment and ask the same of their texts: one question to one replica.

It halves what a request costs here and there, and delays none: nothing is waited for, only what has come meanwhile is
taken together. A replica's batch is not made much longer either, see `Group.cut`.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from embedfleet.dialects.coalescing import fingerprints, read_single, split_vectors, write_batch
from embedfleet.dialects.splitting.tokenless import is_invisible
from embedfleet.errors import RequestError, ServingError
from embedfleet.gateway.dispatch.pace import Cost
from embedfleet.gateway.dispatch.replica import Replica
from embedfleet.gateway.requests.access_log import log_access
from embedfleet.gateway.requests.attempt import OK, AskedRequest, Attempt, Desk
from embedfleet.gateway.upstream.forwarding import RequestFields
from embedfleet.gateway.upstream.reply import ReplyHead
from embedfleet.gateway.upstream.transport import Pool
from embedfleet.http.exchange import Exchange
from embedfleet.http.message import JOIN_BYTES, status_line

log = logging.getLogger(__name__)

_MOST_TEXTS = 32
# Of one reply, not of those that are made of it.
_OWN = frozenset({b"x-request-id", b"x-compute-tokens", b"x-compute-characters"})
_OK_LINE: Final = status_line(OK)
_FIELDS: Final = b"%bx-compute-characters: %d\r\nx-compute-tokens: %d\r\nx-request-id: %b\r\n"
_HEAD: Final = _FIELDS + b"content-length: %d\r\n\r\n"


@dataclass(slots=True)
class Group:
    """Requests for one vector each that may be asked as one.

    Attributes:
        fields: of their heads, which are the same.
        others: what their bodies say besides the texts, see `read_single`.
        exchanges: with their clients.
        texts: of each.
        costs: of each, in estimated tokens.
    """

    fields: RequestFields
    others: bytes
    exchanges: list[Exchange] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    costs: list[int] = field(default_factory=list)

    def cut(self, cost: Cost, most_texts: int) -> "list[Group]":
        """Groups that may be one question: their texts add at most as much time to a batch as it takes anyway.

        Args:
            cost: of a replica's batch: ``b * tokens <= a``.
            most_texts: that a replica takes.
        """
        most_tokens = cost.a_s / cost.b_s
        most = min(most_texts, _MOST_TEXTS)
        if len(self.costs) <= most and sum(self.costs) <= most_tokens:
            return [self]
        starts, tokens, count = [0], 0, 0
        for place, text_tokens in enumerate(self.costs):
            if count and (tokens + text_tokens > most_tokens or count >= most):
                starts.append(place)
                tokens = count = 0
            tokens += text_tokens
            count += 1
        return [self._part(start, end) for start, end in zip(starts, [*starts[1:], len(self.costs)], strict=True)]

    def bundle(self, desk: Desk, now: float, timeout_s: float) -> "Bundle | None":
        """All of it as one request; None where it is but one, or cannot be one."""
        if len(self.texts) == 1:
            return None
        try:
            return Bundle(desk, self, now, timeout_s)
        except Exception:
            log.exception("requests could not be put together, and go alone")
            return None

    def _part(self, start: int, end: int) -> "Group":
        of = slice(start, end)
        return Group(self.fields, self.others, self.exchanges[of], self.texts[of], self.costs[of])


class Gathering:
    """What has come in this turn of the event loop."""

    def __init__(self) -> None:
        self._came: list[Exchange] = []

    def add(self, exchange: Exchange) -> bool:
        """Take a request in; whether it is the first."""
        self._came.append(exchange)
        return len(self._came) == 1

    def take(self, tokens: Callable[[int], int]) -> tuple[list[Exchange], list[Group]]:
        """All that came: requests that go alone, and groups; what its client does not wait for any more is left out.

        Args:
            tokens: the estimate for a text of so many characters.
        """
        came, self._came = self._came, []
        if len(came) == 1:
            return came, []
        try:
            return self._grouped(came, tokens)
        except Exception:
            log.exception("requests that came together could not be read for that, and go alone")
            return came, []

    @staticmethod
    def _grouped(came: list[Exchange], tokens: Callable[[int], int]) -> tuple[list[Exchange], list[Group]]:
        alone: list[Exchange] = []
        groups: dict[tuple[RequestFields, bytes], Group] = {}
        group: Group | None = None
        for exchange in came:
            lone = read_single(exchange.body)
            fields = exchange.head.note
            if lone is None or exchange.gone or not isinstance(fields, RequestFields):
                alone.append(exchange)
                continue
            text, others = lone
            if not " " < text[:1] < "\x7f" and is_invisible(text):  # mostly seen without a call
                alone.append(exchange)
                continue
            if group is None or group.fields is not fields or group.others != others:  # clients are mostly alike
                group = groups.get((fields, others))
                if group is None:
                    group = groups[fields, others] = Group(fields, others)
            group.exchanges.append(exchange)
            group.texts.append(text)
            group.costs.append(tokens(len(text)))
        return alone, list(groups.values())


class Bundle(AskedRequest):
    """A group as one request; if it does not succeed each of its requests goes alone.

    Args:
        desk: told of what happens.
        group: at least two.
        now: in seconds.
        timeout_s: after which their clients do not want it any more.
    """

    def __init__(self, desk: Desk, group: Group, now: float, timeout_s: float) -> None:
        body = write_batch(group.texts, group.others)
        super().__init__(
            tokens=sum(group.costs),
            texts=len(group.texts),
            size_bytes=len(body),
            online=True,
            now=now,
            timeout_s=timeout_s,
        )
        self.attempts = []
        self.is_shared = True
        self._desk = desk
        self._group = group
        self._body = body
        self._present = len(group.exchanges)
        self._vectors: Sequence[bytes | memoryview] = ()  # each client's, once there is an answer
        for exchange in group.exchanges:
            exchange.on_gone = self._leave

    def send(self, replica: Replica, pool: Pool, now: float) -> None:
        """Send it to a replica."""
        if self.sends == 1:
            self._desk.tally.waited(now - self.arrived, online=True, times=self.texts)
        fields, peer = self._group.fields, self._group.exchanges[0].peer
        request_id = fields.request_id or self._desk.request_id()
        data = fields.wire(pool.prefix, pool.last_line, body=self._body, request_id=request_id, peer=peer)
        pool.send(self.attempt(self._desk, replica), data, now, is_head=False)

    @property
    def fingerprints(self) -> Sequence[int]:
        """See `Chunk`."""
        return fingerprints(self._group.texts, self._group.others)

    def check(self, reply: bytes) -> None:
        """See `Asked`."""
        self._vectors = split_vectors(self.texts, reply)

    def answered(self, attempt: Attempt) -> None:
        """See `Asked`: it is shared out when the dispatcher says so."""

    def relay(self, now: float) -> None:
        """Give each client its own; after an error each is asked for alone."""
        attempt, self.reply = self.reply, None
        assert attempt is not None, "the dispatcher relays only what was answered"
        if attempt.head.status != OK:
            self.separate(now)
            return
        desk, group = self._desk, self._group
        request_id, new_id = group.fields.request_id, desk.request_id
        shared, elapsed = _shared_fields(attempt.head), now - self.arrived
        opening = _OK_LINE + shared
        tokens = apportioned(attempt.head.tokens or self.tokens, group.costs)
        for exchange, text, count, vector in zip(group.exchanges, group.texts, tokens, self._vectors, strict=True):
            own_id = request_id or new_id()
            length = len(vector) + 2  # and its brackets
            if exchange.is_plain and length <= JOIN_BYTES:
                head = _HEAD % (opening, len(text), count, own_id, length)
                exchange.answer(b"".join((head, b"[", vector, b"]")))
            else:
                exchange.pass_on(OK, _FIELDS % (shared, len(text), count, own_id), b"[%b]" % bytes(vector))
            if desk.access_log:
                log_access(exchange, OK, elapsed, replica=attempt.replica.id, request_id=own_id)
        desk.tally.answered(OK, elapsed, online=True, times=self._present)

    def refuse(self, error: RequestError | ServingError, reason: str = "") -> None:
        """Answer all with an error of ours."""
        for exchange in self._present_exchanges():
            self._desk.refuse_alone(exchange, self.arrived, error, reason)

    def separate(self, now: float) -> None:
        """Ask for each alone whose client is there."""
        del now  # they came when this did
        for exchange in self._present_exchanges():
            self._desk.take_alone(exchange, self.arrived)

    def fault(self, now: float) -> None:
        """See `AskedRequest`."""
        self.separate(now)

    def _leave(self) -> None:
        """One of the clients is gone; the others' answer goes on."""
        self._desk.tally.left()
        self._present -= 1
        if not self._present:
            self._desk.left(self)

    def _present_exchanges(self) -> list[Exchange]:
        """Those whose clients are there, and have no answer."""
        return [exchange for exchange in self._group.exchanges if not exchange.gone]


def apportioned(total: int, shares: Sequence[int]) -> list[int]:
    """A whole number in parts that are proportional to ``shares``, nearly, and add up to it exactly."""
    whole = sum(shares)
    found, before, seen = [], 0, 0
    for share in shares:
        seen += share
        upto = round(total * seen / whole) if whole else 0
        found.append(upto - before)
        before = upto
    return found


def _shared_fields(head: ReplyHead) -> bytes:
    """The reply's fields that hold for each of its parts."""
    return b"".join(b"%b: %b\r\n" % header for header in head.headers if header[0] not in _OWN)
