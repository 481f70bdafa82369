"""Small requests that came at the same moment and ask the same of their texts: one question to one replica.

It halves what a request costs here and there, and delays none: nothing is waited for, only what has come meanwhile is
taken together. A replica's batch is not made much longer either, see `Gathering`.
"""

from collections.abc import Sequence

from embedfleet.dialects.texts import Inputs
from embedfleet.errors import RequestError, ServingError
from embedfleet.gateway.attempt import OK, AskedRequest, Attempt, Desk
from embedfleet.gateway.dispatch.pace import Cost
from embedfleet.gateway.dispatch.replica import Replica
from embedfleet.gateway.flight import Flight
from embedfleet.gateway.reply import ReplyHead
from embedfleet.gateway.transport import Pool

_MOST_TEXTS = 32
# Of one reply, not of those that are made of it.
_OWN = frozenset({b"x-request-id", b"x-compute-tokens", b"x-compute-characters"})


_FIELDS = b"%bx-compute-characters: %d\r\nx-compute-tokens: %d\r\nx-request-id: %b\r\n"


class Bundle(AskedRequest):
    """Several flights as one request; if it does not succeed each goes alone.

    Args:
        desk: told of what happens.
        flights: at least two, of the same kind.
        now: in seconds.
    """

    def __init__(self, desk: Desk, flights: Sequence[Flight], now: float) -> None:
        tokens = size_bytes = 0
        for flight in flights:
            flight.bundle = self
            tokens += flight.tokens
            size_bytes += flight.size_bytes
        super().__init__(
            tokens=tokens,
            texts=len(flights),
            size_bytes=size_bytes,
            online=True,
            now=now,
            timeout_s=flights[0].deadline - now,  # they came together, and their heads are the same
        )
        self._desk = desk
        self._flights = flights
        self._present = len(flights)
        self._texts = _texts(flights[0]).merged([_texts(flight) for flight in flights[1:]])
        self._body = self._texts.body(range(len(flights)))
        self._bodies: list[bytes] = []  # each client's, once there is an answer
        self.attempts = []

    def send(self, replica: Replica, pool: Pool, now: float) -> None:
        """Send it to a replica."""
        if self.sends == 1:
            self._desk.tally.waited(now - self._flights[0].arrived, online=True, times=len(self._flights))
        for flight in self._flights:
            flight.at = replica.id
        data = self._flights[0].wire(self._body, pool)
        pool.send(self.attempt(self._desk, replica), data, now, is_head=False)

    def check(self, reply: bytes) -> None:
        """See `Asked`."""
        self._bodies = self._texts.split(reply)

    def answered(self, attempt: Attempt) -> None:
        """See `Asked`: it is shared out when the dispatcher says so."""

    def relay(self, now: float) -> None:
        """Give each client its own; after an error each is asked for alone."""
        attempt, self.reply = self.reply, None
        assert attempt is not None, "the dispatcher relays only what was answered"
        flights = self._flights
        if attempt.head.status != OK:
            for flight in self._leave():
                self._desk.take(flight, now)
            return
        fields = _shared_fields(attempt.head)
        tokens = apportioned(attempt.head.tokens or self.tokens, [flight.tokens for flight in flights])
        for flight, count, body in zip(flights, tokens, self._bodies, strict=True):
            if not flight.exchange.gone:
                flight.bundle = None
                told = fields, _texts(flight).characters(), count, flight.request_id
                flight.answer(_FIELDS % told, body, now)

    def refuse(self, error: RequestError | ServingError, reason: str = "") -> None:
        """Answer all with an error of ours."""
        for flight in self._leave():
            flight.refuse(error, reason)

    def leave(self) -> None:
        """One of the clients is gone; the others' answer goes on."""
        self._present -= 1
        if not self._present:
            self._desk.left(self)

    def _leave(self) -> list[Flight]:
        """Those whose clients are there are on their own again."""
        present = [flight for flight in self._flights if not flight.exchange.gone]
        for flight in present:
            flight.bundle = None
        return present


class Gathering:
    """What has come in this turn of the event loop.

    A bundle's texts add at most as much time to a batch as the batch takes anyway: ``b * tokens <= a``.
    """

    def __init__(self) -> None:
        self._came: list[tuple[Flight, bytes]] = []

    def add(self, flight: Flight, kin: bytes) -> bool:
        """Take a flight in, whose texts have this `Texts.kin`; whether it is the first."""
        self._came.append((flight, kin))
        return len(self._came) == 1

    def take(self, cost: Cost, most_texts: int) -> list[list[Flight]]:
        """All that came, in groups that may share a question; what its client does not wait for any more is left out.

        Args:
            cost: of a replica's batch.
            most_texts: that a replica takes.
        """
        came, self._came = self._came, []
        if len(came) == 1:
            return [[came[0][0]]]
        alike: dict[tuple[int, bytes], list[Flight]] = {}
        for flight, kin in came:
            if not flight.exchange.gone:
                alike.setdefault((id(flight.fields), kin), []).append(flight)
        return [group for some in alike.values() for group in _groups(some, cost.a_s / cost.b_s, most_texts)]


def _groups(flights: list[Flight], most_tokens: float, most_texts: int) -> list[list[Flight]]:
    groups: list[list[Flight]] = []
    tokens = 0
    for flight in flights:
        tokens += flight.tokens
        if not groups or tokens > most_tokens or len(groups[-1]) >= min(most_texts, _MOST_TEXTS):
            groups.append([])
            tokens = flight.tokens
        groups[-1].append(flight)
    return groups


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


def _texts(flight: Flight) -> Inputs:
    assert isinstance(flight.asked_texts, Inputs), "only what is to be embedded is bundled"
    return flight.asked_texts


def _shared_fields(head: ReplyHead) -> bytes:
    """The reply's fields that hold for each of its parts."""
    return b"".join(b"%b: %b\r\n" % header for header in head.headers if header[0] not in _OWN)
