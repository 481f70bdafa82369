"""Attempts: calls to a replica for one chunk, and the checks of the replies."""

from abc import ABCMeta, abstractmethod
from collections.abc import Callable
from typing import Final

from typing_extensions import override

from embedfleet.errors import Malformed, UpstreamError
from embedfleet.gateway.dispatch.dispatcher import TROUBLE
from embedfleet.gateway.dispatch.replica import Replica
from embedfleet.gateway.dispatch.request import Chunk, Request
from embedfleet.gateway.requests.delivery import Delivery
from embedfleet.gateway.upstream.call import Call
from embedfleet.gateway.upstream.reply import ReplyHead

_OK: Final = 200
_FAILED: Final = 400  # first status of an error
_LAST: Final = 599  # last status of an error


class Outcomes(metaclass=ABCMeta):
    """Receives the outcomes of attempts.

    Attributes:
        now: Clock of the event loop, in seconds.
    """

    now: Callable[[], float]

    @abstractmethod
    def replied(self, attempt: "Attempt", now: float) -> None:
        """Handle a whole reply, or the beginning of a streamed one."""

    @abstractmethod
    def failed(self, attempt: "Attempt", error: UpstreamError) -> None:
        """Handle the failure of an attempt."""

    @abstractmethod
    def broke(self, request: Request, error: Exception) -> None:
        """End a request on which the gateway's own code failed, without harm to other requests."""


class Sending:
    """Record of one chunk's sends: the attempts in progress and the last reply.

    Args:
        delivery: Delivery of the chunk's request.

    Attributes:
        delivery: Delivery of the chunk's request.
        reply: The attempt whose reply the dispatcher is deciding about.
        failure: Failure of the last replica, in words; empty if none failed.
    """

    __slots__ = ("_copy", "_first", "delivery", "failure", "reply")

    def __init__(self, delivery: Delivery) -> None:
        self.delivery = delivery
        self.reply: Attempt | None = None
        self.failure = ""
        self._first: Attempt | None = None  # attempts in progress; a chunk is at two replicas at most
        self._copy: Attempt | None = None

    def begin(self, attempt: "Attempt") -> None:
        """Add an attempt."""
        if self._first is None:
            self._first = attempt
        else:
            self._copy = attempt

    def is_under_way(self, attempt: "Attempt") -> bool:
        """Return whether an attempt is in progress: neither over nor cancelled."""
        return attempt is self._first or attempt is self._copy

    def end(self, attempt: "Attempt") -> None:
        """Remove an attempt that is over."""
        if attempt is self._first:
            self._first = None
        elif attempt is self._copy:
            self._copy = None

    def cancel(self, replica: Replica) -> None:
        """Cancel the attempt at a replica."""
        for attempt in (self._first, self._copy):
            if attempt is not None and attempt.replica is replica:
                self.end(attempt)
                attempt.cancel()


class Attempt(Call):
    """One call to one replica. An exception in the code that it calls ends the request, not the transport.

    Args:
        outcomes: Receiver of the outcome.
        chunk: Chunk that is sent.
        sending: Record of the chunk's attempts.
        replica: Replica that gets the chunk.

    Attributes:
        chunk: Chunk that is sent.
        sending: Record of the chunk's attempts.
        replica: Replica that gets the chunk.
    """

    def __init__(self, outcomes: Outcomes, chunk: Chunk, sending: Sending, replica: Replica) -> None:
        self._outcomes = outcomes
        self.chunk = chunk
        self.sending = sending
        self.replica = replica
        self._collected: bytearray | None = None  # body of a large reply that is collected instead of streamed

    @override
    def on_reply(self, head: ReplyHead, body: bytes, now: float) -> None:
        self.head = head
        self.body = body
        sending, chunk = self.sending, self.chunk
        try:
            if head.status == _OK:
                sending.delivery.check(chunk, body)
            elif self._is_no_answer(head.status):
                raise Malformed(f"status {head.status} is no answer to texts")  # noqa: TRY301 - handled as any other
            sending.end(self)
            if head.status == _OK and chunk.items:
                sending.delivery.keep(chunk, self)
            self._outcomes.replied(self, now)
        except Malformed as error:
            self.on_error(error)
        except Exception as error:  # noqa: BLE001 - `broke` logs it
            self._outcomes.broke(chunk.request, error)

    @override
    def on_begin(self, head: ReplyHead, body: bytes) -> None:
        self.head = head
        self.body = body
        try:
            if head.status in TROUBLE or self._is_no_answer(head.status):
                self._reject(f"status {head.status} with a body of over {len(body)} bytes")
            elif self._is_streamed:
                self.extend()
                self.sending.end(self)
                self._outcomes.replied(self, self._outcomes.now())
            else:
                self._collected = bytearray(body)
                self._check_length(max(head.length, len(body)))
        except Exception as error:  # noqa: BLE001 - `broke` logs it
            self._outcomes.broke(self.chunk.request, error)

    @override
    def on_data(self, data: bytes) -> None:
        try:
            if self._collected is not None:
                self._collected += data
                self._check_length(len(self._collected))
            elif self._is_streamed:
                self.extend()
                self.sending.delivery.pass_on(data)
        except Exception as error:  # noqa: BLE001 - `broke` logs it
            self._outcomes.broke(self.chunk.request, error)

    @override
    def on_end(self) -> None:
        try:
            if self._collected is not None:
                self.on_reply(self.head, bytes(self._collected), self._outcomes.now())
            elif self._is_streamed:
                self.sending.delivery.end(self.chunk.request, self._outcomes.now())
        except Exception as error:  # noqa: BLE001 - `broke` logs it
            self._outcomes.broke(self.chunk.request, error)

    @override
    def on_error(self, error: UpstreamError) -> None:
        try:
            if self.sending.is_under_way(self):
                self._outcomes.failed(self, error)
            elif self._is_streamed:
                self.sending.delivery.break_off()
        except Exception as fault:  # noqa: BLE001 - `broke` logs it
            self._outcomes.broke(self.chunk.request, fault)

    @property
    def _is_streamed(self) -> bool:
        """Whether a large reply is streamed rather than collected; replies to parts are collected, to be joined."""
        return self.sending.delivery.is_streamed and not self.chunk.items

    def _is_no_answer(self, status: int) -> bool:
        """Return whether the request has texts, and the status is neither 200 nor an error."""
        return status != _OK and not _FAILED <= status <= _LAST and self.chunk.request.is_inference

    def _check_length(self, size: int) -> None:
        """Reject a collected reply that is, or will be, longer than any answer."""
        most = self.sending.delivery.most_bytes(self.chunk)
        if size > most:
            self._collected = None
            self._reject(f"a reply of over {most} bytes to {self.chunk.texts} texts")

    def _reject(self, fault: str) -> None:
        """Fail the attempt, and ignore the rest of the reply."""
        self.cancel()
        self.on_error(Malformed(fault))
