"""One request on its way to a replica, and what it needs of its connection and of the pool of connections."""

from abc import ABCMeta, abstractmethod
from collections.abc import Callable
from math import inf

from embedfleet.errors import Reset, UpstreamError
from embedfleet.gateway.upstream.reply import ReplyHead


class CallConnection(metaclass=ABCMeta):
    """A connection as its call sees it.

    Attributes:
        call: Call that it works on; None while it is idle.
        is_heard: Whether a byte of the reply has come.
        idle_since: Time of its last use before the present call; infinite if there was none.
    """

    call: "Call | None"
    is_heard: bool
    idle_since: float

    @property
    @abstractmethod
    def is_stale(self) -> bool:
        """Whether it was kept from an earlier call and broke before this one's reply began."""

    @abstractmethod
    def begin(self, call: "Call") -> bool:
        """Write a call's request, to which the next reply belongs; return False if the connection is gone."""

    @abstractmethod
    def pause(self, paused: bool) -> None:
        """Stop reading, or go on."""

    @abstractmethod
    def close(self) -> None:
        """Drop the connection at once."""


class CallPool(metaclass=ABCMeta):
    """The connections to one replica as a call sees them.

    Attributes:
        name: Name of the replica.
        prefix: Blank between method and target, and the path that is put before every target.
        last_line: Last line of every request's head, from the CRLF before it.
        pending: Calls whose connections are being opened.
        timeout_s: Seconds from the sending to the end of the reply; of a streamed reply, between any two parts of it.
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
        """Send a request on an idle connection, the one used last, or on a new one.

        Args:
            call: Call of the request; none of its methods is called from within this one.
            data: The request as it goes on the wire.
            now: Time in seconds.
            is_head: Whether the reply has no body whatever its length says.
        """

    @abstractmethod
    def open_for(self, call: "Call") -> None:
        """Open a connection for a call, once it is proven who answers there."""


class Call(metaclass=ABCMeta):
    """One request on its way to a replica; the caller derives its own class, which gets the reply.

    For each sending exactly one of `on_reply`, `on_error` and the sequence that starts with `on_begin` is called.

    Attributes:
        pool: Connections to the replica.
        data: The request as it goes on the wire.
        deadline: Time at which it times out.
        is_head: Whether the reply has no body whatever its length says.
        is_resent: Whether it was sent a second time, because a kept connection broke before any reply.
        connection: Connection that it is on; None before, between and after.
        former: Connection that is silent, while it is on another too.
        is_renewed: Whether it was asked again on a new connection.
        head: Head of the reply, once that is there.
        body: Body of the reply; of a streamed reply, what came with its head.
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
        """Take the whole reply."""

    @abstractmethod
    def on_begin(self, head: ReplyHead, body: bytes) -> None:
        """Take the beginning of a reply too large to be held: its head, and the part of its body that has come."""

    @abstractmethod
    def on_data(self, data: bytes) -> None:
        """Take more of the body."""

    @abstractmethod
    def on_end(self) -> None:
        """Take the end of the body."""

    @abstractmethod
    def on_error(self, error: UpstreamError) -> None:
        """Take the news that there is no reply or, after `on_begin`, no more of it."""

    def cancel(self) -> None:
        """Close the connection, so that the replica drops what it has queued for it; nothing is called after this."""
        self.pool.pending.discard(self)
        connection, self.connection = self.connection, None
        if connection is not None:
            connection.call = None
            connection.close()

    def begin_again(self, connection: CallConnection) -> bool:
        """Ask on a new connection too, unless a reply has begun; return whether that was done."""
        silent = self.connection
        if silent is None or silent.is_heard or not connection.begin(self):
            return False
        self.former = silent
        return True

    def is_answered_on(self, connection: CallConnection) -> bool:
        """Return whether this is the silent one of two connections and got the first byte; the other is then closed."""
        other = self.connection
        if self.former is not connection or other is None or other.is_heard:
            return False
        other.call = None
        other.close()
        self.connection, self.former = connection, None
        return True

    def outlives(self, connection: CallConnection) -> bool:
        """Return whether a connection that is lost was not the only one that the call is on."""
        if self.connection is connection:
            self.connection, self.former = self.former or connection, None
            return self.connection is not connection
        self.former = None
        return True

    def pause(self, paused: bool) -> None:
        """Stop reading the reply, or go on; a pause is the client's slowness, and does not count for the time-out."""
        self.deadline = inf if paused else self.pool.now() + self.pool.timeout_s
        if self.connection is not None:
            self.connection.pause(paused)

    def extend(self) -> None:
        """Move the deadline, because more of a streamed reply came; bytes read before a pause do not end the pause."""
        if self.deadline != inf:
            self.deadline = self.pool.now() + self.pool.timeout_s

    def fail(self, error: UpstreamError) -> None:
        """End the call on this connection, or send it again if that was a kept one that broke before any reply.

        Such a connection says nothing about the replica.
        """
        connection, self.connection = self.connection, None
        if isinstance(error, Reset) and connection is not None and connection.is_stale and not self.is_resent:
            self.is_resent = True
            self.pool.open_for(self)
            return
        self.pool.pending.discard(self)
        self.on_error(error)
