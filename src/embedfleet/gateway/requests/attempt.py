"""A replica is asked something: the sending, the reply, and whether that is an answer."""

import logging
from abc import ABCMeta, abstractmethod
from collections.abc import Callable
from typing import Final, Protocol

from mypy_extensions import trait

from embedfleet.dialects.error_reply import render_error
from embedfleet.errors import (
    Internal,
    Malformed,
    Refused,
    RequestError,
    Reset,
    ServingError,
    Starved,
    TimedOut,
    UpstreamError,
)
from embedfleet.gateway.counters import Tally
from embedfleet.gateway.dispatch.command import Failure
from embedfleet.gateway.dispatch.dispatcher import TROUBLE
from embedfleet.gateway.dispatch.replica import Replica
from embedfleet.gateway.dispatch.request import Chunk, Request
from embedfleet.gateway.upstream.call import Call
from embedfleet.gateway.upstream.reply import ReplyHead
from embedfleet.gateway.upstream.transport import Pool
from embedfleet.http.cors import CORS
from embedfleet.http.exchange import Exchange

log = logging.getLogger(__name__)

OK: Final = 200
_FAILED: Final = 400
_LAST: Final = 599  # status of an error

# Of what is collected. A vector of 8,192 numbers, more than any model has that we know, takes 192 KiB of JSON at most.
_VECTOR_BYTES: Final = 262_144
_SMALL_BYTES: Final = 8_388_608
_MOST_BYTES: Final = 1_073_741_824


def longest_answer(vectors: int) -> int:
    """In bytes: for so many vectors, or what takes as much."""
    return min(_SMALL_BYTES + vectors * _VECTOR_BYTES, _MOST_BYTES)


FAILURES: dict[type[UpstreamError], Failure] = {
    Refused: Failure.REFUSED,
    Reset: Failure.RESET,
    Malformed: Failure.MALFORMED,
    TimedOut: Failure.TIMED_OUT,
    Starved: Failure.STARVED,
}
"""What the transport says of a replica that gave no answer."""


class Stream(Protocol):
    """Where a reply goes that is passed on as it comes."""

    def pass_on(self, data: bytes) -> None:
        """More of it."""

    def pass_on_end(self) -> None:
        """All of it."""

    def break_off(self) -> None:
        """The rest of it never comes."""


@trait
class Asked(Chunk):
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

    @property
    def most_bytes(self) -> int:
        """The longest reply that is collected: far more than any answer to its texts has."""
        return longest_answer(self.texts)

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

    @abstractmethod
    def fault(self, now: float) -> None:
        """Our own code failed on it: its client gets an error, or it is tried otherwise."""

    def separate(self, now: float) -> None:
        """Ask for each client alone, if it asks for several."""


class Desk(metaclass=ABCMeta):
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
    def take(self, request: AskedRequest, now: float) -> None:
        """A request is to be dispatched."""

    @abstractmethod
    def take_alone(self, exchange: Exchange, now: float) -> None:
        """A client's request that came then is to be dispatched on its own."""

    @abstractmethod
    def refuse_alone(self, exchange: Exchange, now: float, error: RequestError | ServingError, reason: str) -> None:
        """A client's request that came then is to be answered with an error of ours."""

    @abstractmethod
    def answered(self, attempt: "Attempt", now: float) -> None:
        """A reply is there, or has begun."""

    @abstractmethod
    def failed(self, attempt: "Attempt", error: UpstreamError) -> None:
        """There was none."""

    @abstractmethod
    def left(self, request: AskedRequest) -> None:
        """Nobody waits for a request any more."""

    @abstractmethod
    def broke(self, request: Request, error: Exception) -> None:
        """Our own code raised it: that is logged, the request ends, and nothing else does."""


class Attempt(Call):
    """One question to one replica. What it calls may raise: that ends its request, and not the transport's work.

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
        self._more: bytearray | None = None  # a reply that is held though it is large

    def on_reply(self, head: ReplyHead, body: bytes, now: float) -> None:
        """See `Call`."""
        self.head = head
        self.body = body
        asked = self.asked
        try:
            self._check()
            asked.attempts.remove(self)
            asked.reply = self
            if head.status == OK:
                asked.answered(self)
            self._desk.answered(self, now)
        except Malformed as error:
            self.on_error(error)
        except Exception as error:  # noqa: BLE001 - it is logged there
            self._desk.broke(asked.request, error)

    def on_begin(self, head: ReplyHead, body: bytes) -> None:
        """See `Call`."""
        self.head = head
        self.body = body
        try:
            if head.status in TROUBLE or self._is_no_answer():
                self._reject(f"status {head.status} with a body of over {len(body)} bytes")
            elif self.asked.stream is None:
                self._more = bytearray(body)
                self._check_length(max(head.length, len(body)))
            else:
                self.extend()
                self.asked.attempts.remove(self)
                self.asked.reply = self
                self._desk.answered(self, self._desk.now())
        except Exception as error:  # noqa: BLE001 - it is logged there
            self._desk.broke(self.asked.request, error)

    def on_data(self, data: bytes) -> None:
        """See `Call`."""
        try:
            if self._more is not None:
                self._more += data
                self._check_length(len(self._more))
            elif self.asked.stream is not None:
                self.extend()
                self.asked.stream.pass_on(data)
        except Exception as error:  # noqa: BLE001 - it is logged there
            self._desk.broke(self.asked.request, error)

    def on_end(self) -> None:
        """See `Call`."""
        try:
            if self._more is not None:
                self.on_reply(self.head, bytes(self._more), self._desk.now())
            elif self.asked.stream is not None:
                self.asked.stream.pass_on_end()
        except Exception as error:  # noqa: BLE001 - it is logged there
            self._desk.broke(self.asked.request, error)

    def on_error(self, error: UpstreamError) -> None:
        """See `Call`."""
        try:
            if self in self.asked.attempts:
                self._desk.failed(self, error)  # which takes it off
            elif self.asked.stream is not None:
                self.asked.stream.break_off()
        except Exception as fault:  # noqa: BLE001 - it is logged there
            self._desk.broke(self.asked.request, fault)

    def _check(self) -> None:
        status = self.head.status
        if status == OK:
            self.asked.check(self.body)
        elif self._is_no_answer():
            raise Malformed(f"status {status} is no answer to texts")

    def _is_no_answer(self) -> bool:
        """Whether texts were asked about, and the status is neither that of an answer nor that of an error."""
        status = self.head.status
        return status != OK and not _FAILED <= status <= _LAST and self.asked.request.is_work

    def _check_length(self, size: int) -> None:
        """See that the collected reply is, or is going to be, no longer than any answer."""
        most = self.asked.most_bytes
        if size > most:
            self._more = None
            self._reject(f"a reply of over {most} bytes to {self.asked.texts} texts")

    def _reject(self, fault: str) -> None:
        """What comes is no answer, however it ends."""
        self.cancel()
        self.on_error(Malformed(fault))


def give_up(exchange: Exchange, error: Exception) -> None:
    """Our own code failed before there was a request to speak of."""
    log.error("the gateway failed to take a request", exc_info=error)
    if exchange.begun:
        exchange.abort()
    else:
        status, headers, body = render_error(exchange.path, Internal("the gateway failed on this request"))
        exchange.respond(status, [*headers, *CORS], body)
