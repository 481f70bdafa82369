"""A replica is asked something: the sending, the reply, and whether that is an answer."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Final, Protocol

from mypy_extensions import trait

from embedfleet.errors import Malformed, RequestError, ServingError, UpstreamError
from embedfleet.gateway.call import Call
from embedfleet.gateway.dispatch.dispatcher import TROUBLE
from embedfleet.gateway.dispatch.replica import Replica
from embedfleet.gateway.dispatch.request import Chunk, Request
from embedfleet.gateway.reply import ReplyHead
from embedfleet.gateway.tally import Tally
from embedfleet.gateway.transport import Pool
from embedfleet.http.exchange import Exchange

OK: Final = 200
_FAILED: Final = 400


class Stream(Protocol):
    """Where a reply goes that is passed on as it comes."""

    def pass_on(self, data: bytes) -> None:
        """More of it."""

    def pass_on_end(self) -> None:
        """All of it."""

    def break_off(self) -> None:
        """The rest of it never comes."""


@trait
class Asked(Chunk, ABC):
    """A chunk as the sockets see it.

    Attributes:
        attempts: under way; two if the first replica is silent.
        reply: the last that has one.
        failure: of the last replica that failed it.
    """

    attempts: "list[Attempt]"
    reply: "Attempt | None" = None
    failure = ""

    @property
    def stream(self) -> Stream | None:
        """Where a large reply goes as it comes; None where it is wanted whole, however large."""
        return None

    @abstractmethod
    def send(self, replica: Replica, pool: Pool, now: float) -> None:
        """Send it to a replica."""

    @abstractmethod
    def check(self, reply: bytes) -> None:
        """Raise Malformed unless that answers all that was asked."""

    @abstractmethod
    def answered(self, attempt: "Attempt") -> None:
        """A good answer is there."""

    @abstractmethod
    def relay(self, now: float) -> None:
        """Answer the client with the last reply."""

    def attempt(self, desk: "Desk", replica: Replica) -> "Attempt":
        """One that is about to be sent."""
        if self.copy is not None:
            desk.tally.hedged()
        elif self.failure:
            desk.tally.retried(self.failure)
        attempt = Attempt(desk, self, replica)
        self.attempts.append(attempt)
        return attempt

    def cancel(self, replica: Replica) -> None:
        """Nobody wants the replica's answer any more."""
        for attempt in self.attempts:
            if attempt.replica is replica:
                self.attempts.remove(attempt)
                attempt.cancel()
                return


class AskedRequest(Request, Asked):
    """A whole request as the sockets see it."""

    @abstractmethod
    def refuse(self, error: RequestError | ServingError, reason: str = "") -> None:
        """Answer with an error of ours."""

    def separate(self, now: float) -> None:
        """Ask for each client alone, if it asks for several."""


class Desk(ABC):
    """To whom is told what becomes of requests.

    Attributes:
        tally: that counts it.
        now: the loop's time.
        access_log: whether each request is a line in the log.
    """

    tally: Tally
    now: Callable[[], float]
    access_log: bool

    @abstractmethod
    def request_id(self) -> bytes:
        """An id that no other request has."""

    @abstractmethod
    def flight(self, exchange: Exchange, now: float) -> AskedRequest:
        """A client's request that came then, on its own."""

    @abstractmethod
    def take(self, request: AskedRequest, now: float) -> None:
        """A request is to be dispatched."""

    @abstractmethod
    def answered(self, attempt: "Attempt", now: float) -> None:
        """A reply is there, or has begun."""

    @abstractmethod
    def failed(self, attempt: "Attempt", error: UpstreamError) -> None:
        """There was none."""

    @abstractmethod
    def left(self, request: AskedRequest) -> None:
        """Nobody waits for a request any more."""


class Attempt(Call):
    """One question to one replica.

    Attributes:
        asked: what is asked.
        replica: whom.
        head: of the reply, once that is there.
        body: of the reply; of one that is passed on as it comes, what came with its head.
    """

    head: ReplyHead
    body = b""

    def __init__(self, desk: Desk, asked: Asked, replica: Replica) -> None:
        self._desk = desk
        self.asked = asked
        self.replica = replica
        self._more: list[bytes] | None = None  # of a reply that is held though it is large

    def on_reply(self, head: ReplyHead, body: bytes, now: float) -> None:
        """See `Call`."""
        self.head = head
        self.body = body
        asked = self.asked
        try:
            self._check()
        except Malformed as error:
            self.on_error(error)
            return
        asked.attempts.remove(self)
        asked.reply = self
        if head.status == OK:
            asked.answered(self)
        self._desk.answered(self, now)

    def on_begin(self, head: ReplyHead, body: bytes) -> None:
        """See `Call`."""
        self.head = head
        self.body = body
        if head.status in TROUBLE:
            self.cancel()
            self.on_error(Malformed(f"status {head.status} with a body of over {len(body)} bytes"))
        elif self.asked.stream is None:
            self._more = [body]
        else:
            self.asked.attempts.remove(self)
            self.asked.reply = self
            self._desk.answered(self, self._desk.now())

    def on_data(self, data: bytes) -> None:
        """See `Call`."""
        if self._more is not None:
            self._more.append(data)
        elif self.asked.stream is not None:
            self.asked.stream.pass_on(data)

    def on_end(self) -> None:
        """See `Call`."""
        if self._more is not None:
            self.on_reply(self.head, b"".join(self._more), self._desk.now())
        elif self.asked.stream is not None:
            self.asked.stream.pass_on_end()

    def on_error(self, error: UpstreamError) -> None:
        """See `Call`."""
        if self in self.asked.attempts:
            self.asked.attempts.remove(self)
            self._desk.failed(self, error)
        elif self.asked.stream is not None:
            self.asked.stream.break_off()

    def _check(self) -> None:
        status = self.head.status
        if status == OK:
            self.asked.check(self.body)
        elif status < _FAILED and self.asked.stream is None:
            raise Malformed(f"status {status} is no answer to texts")
