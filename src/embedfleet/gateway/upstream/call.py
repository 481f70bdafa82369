"""Calls: single requests to a replica, with the interfaces of a connection and a connection pool that they use."""

from abc import ABCMeta, abstractmethod
from collections.abc import Callable
from math import inf

from embedfleet.errors import Reset, UpstreamError
from embedfleet.gateway.upstream.reply import ReplyHead


class CallConnection(metaclass=ABCMeta):
    """Interface of a connection, as its call uses it.

    Attributes:
        call: Call in progress; None while the connection is idle.
        is_heard: Whether a byte of the reply has arrived.
        idle_since: Time of the last use before the present call; infinite if there was none.
    """

    call: "Call | None"
    is_heard: bool
    idle_since: float

    @property
    @abstractmethod
    def is_stale(self) -> bool:
        """Whether the connection was kept from an earlier call, and no byte of the present reply has arrived."""

    @abstractmethod
    def begin(self, call: "Call") -> bool:
        """Write the request of a call, and expect its reply; return False if the connection is gone."""

    @abstractmethod
    def pause(self, paused: bool) -> None:
        """Pause or resume the reading."""

    @abstractmethod
    def close(self) -> None:
        """Close the connection at once."""


class CallPool(metaclass=ABCMeta):
    """Interface of a connection pool, as its calls use it.

    Attributes:
        name: Name of the replica.
        prefix: Blank after the method, and the path that precedes every target.
        last_line: Last line of every request's head, from the CRLF before it.
        pending: Calls without a connection yet.
        timeout_s: Seconds from the send to the end of the reply; for a streamed reply, between any two pieces.
        now: Clock of the event loop.
    """

    name: str
    prefix: bytes
    last_line: bytes
    pending: "set[Call]"
    timeout_s: float
    now: Callable[[], float]

    @abstractmethod
    def send(self, call: "Call", data: bytes, now: float, *, is_head: bool) -> None:
        """Send a request on the idle connection that was used last, or on a new one.

        Args:
            call: Call of the request; none of its methods is called before this one returns.
            data: Bytes of the whole request.
            now: Time in seconds.
            is_head: Whether the reply has no body, whatever its length field states.
        """

    @abstractmethod
    def open_for(self, call: "Call") -> None:
        """Open a connection for a call, as soon as the process at the address has passed a probe."""


class Call(metaclass=ABCMeta):
    """One request to a replica; callers derive a class that handles the reply.

    After each send, exactly one of these is called: `on_reply`, `on_error`, or the sequence that starts with
    `on_begin`.

    Attributes:
        pool: Connections to the replica.
        data: Bytes of the whole request.
        deadline: Time at which the call times out.
        is_head: Whether the reply has no body, whatever its length field states.
        is_resent: Whether the request was sent a second time, because a kept connection broke before any reply.
        connection: Connection in use; None before, between and after sends.
        former: Silent connection, while the call is on a second one too.
        is_renewed: Whether the request was also sent on a second connection.
        head: Head of the reply, once it has arrived.
        body: Body of the reply; for a streamed reply, its beginning.
    """

    pool: CallPool
    data: bytes
    deadline: float
    is_head: bool
    is_resent: bool
    connection: CallConnection | None = None
    former: CallConnection | None = None
    is_renewed = False
    head: ReplyHead
    body = b""

    @abstractmethod
    def on_reply(self, head: ReplyHead, body: bytes, now: float) -> None:
        """Handle the whole reply."""

    @abstractmethod
    def on_begin(self, head: ReplyHead, body: bytes) -> None:
        """Handle the beginning of a reply that is too large to be held: its head, and the body so far."""

    @abstractmethod
    def on_data(self, data: bytes) -> None:
        """Handle more of the body."""

    @abstractmethod
    def on_end(self) -> None:
        """Handle the end of the body."""

    @abstractmethod
    def on_error(self, error: UpstreamError) -> None:
        """Handle the error that ends the call: there is no reply or, after `on_begin`, no more of it."""

    def cancel(self) -> None:
        """Close the connection, so that the replica drops its queued work; no method is called after this."""
        self.pool.pending.discard(self)
        connection, self.connection = self.connection, None
        if connection is not None:
            connection.call = None
            connection.close()

    def begin_again(self, connection: CallConnection) -> bool:
        """Send the request on a second connection too, unless a reply has begun; return whether it was sent."""
        silent = self.connection
        if silent is None or silent.is_heard or not connection.begin(self):
            return False
        self.former = silent
        return True

    def is_answered_on(self, connection: CallConnection) -> bool:
        """Return whether the first of two connections got the first byte; if so, close the second."""
        other = self.connection
        if self.former is not connection or other is None or other.is_heard:
            return False
        other.call = None
        other.close()
        self.connection, self.former = connection, None
        return True

    def outlives(self, connection: CallConnection) -> bool:
        """Take a lost connection off the call; return whether the call still has another."""
        if self.connection is connection:
            self.connection, self.former = self.former or connection, None
            return self.connection is not connection
        self.former = None
        return True

    def pause(self, paused: bool) -> None:
        """Pause or resume the reading of the reply; a pause is due to a slow client, and stops the time-out."""
        self.deadline = inf if paused else self.pool.now() + self.pool.timeout_s
        if self.connection is not None:
            self.connection.pause(paused)

    def extend(self) -> None:
        """Extend the deadline, because more of a streamed reply arrived; during a pause, there is no deadline."""
        if self.deadline != inf:
            self.deadline = self.pool.now() + self.pool.timeout_s

    def fail(self, error: UpstreamError) -> None:
        """End the call, or send it again if a kept connection broke before any reply.

        A broken kept connection does not show a fault of the replica.
        """
        connection, self.connection = self.connection, None
        if isinstance(error, Reset) and connection is not None and connection.is_stale and not self.is_resent:
            self.is_resent = True
            self.pool.open_for(self)
            return
        self.pool.pending.discard(self)
        self.on_error(error)
