"""One request on its way to a replica, as the transport knows it."""

from abc import ABCMeta, abstractmethod
from typing import TYPE_CHECKING

from embedfleet.errors import Reset, UpstreamError
from embedfleet.gateway.upstream.reply import ReplyHead

if TYPE_CHECKING:
    from embedfleet.gateway.upstream.connection import Upstream
    from embedfleet.gateway.upstream.transport import Pool


class Call(metaclass=ABCMeta):
    """One request on its way, and who waits for its reply; the caller derives from it what it keeps of a request.

    Of `on_reply`, `on_error` and the sequence from `on_begin` exactly one is called for each `Pool.send`.
    """

    pool: "Pool"
    data: bytes
    deadline: float
    is_head: bool
    retried: bool
    connection: "Upstream | None" = None
    former: "Upstream | None" = None  # silent, while it is on another too
    renewed = False  # it was asked again on a new connection

    @abstractmethod
    def on_reply(self, head: ReplyHead, body: bytes, now: float) -> None:
        """The whole reply."""

    @abstractmethod
    def on_begin(self, head: ReplyHead, body: bytes) -> None:
        """The beginning of a reply too large to be held: its head, and as much of its body as is there."""

    @abstractmethod
    def on_data(self, data: bytes) -> None:
        """More of its body."""

    @abstractmethod
    def on_end(self) -> None:
        """The end of its body."""

    @abstractmethod
    def on_error(self, error: UpstreamError) -> None:
        """No reply; or, after `on_begin`, no more of it."""

    def cancel(self) -> None:
        """Close the connection: the replica drops what it has queued for it. Nothing is called after this."""
        self.pool.pending.discard(self)
        connection, self.connection = self.connection, None
        if connection is not None:
            connection.call = None
            connection.close()

    def begin_again(self, connection: "Upstream") -> bool:
        """Ask on a new connection too; whether that was done."""
        silent = self.connection
        if silent is None or silent.heard or not connection.begin(self):
            return False
        self.former = silent
        return True

    def is_answered_on(self, connection: "Upstream") -> bool:
        """Whether it is the silent one of two connections and heard first, so that the other is closed."""
        other = self.connection
        if self.former is not connection or other is None or other.heard:
            return False
        other.call = None
        other.close()
        self.connection, self.former = connection, None
        return True

    def outlives(self, connection: "Upstream") -> bool:
        """Whether a connection that is lost is not the only one that the call is on."""
        if self.connection is connection:
            self.connection, self.former = self.former or connection, None
            return self.connection is not connection
        self.former = None
        return True

    def pause(self, paused: bool) -> None:
        """Stop or go on reading the reply; while it is stopped, its slowness is the client's."""
        self.deadline = float("inf") if paused else self.pool.now() + self.pool.timeout_s
        if self.connection is not None:
            self.connection.pause(paused)

    def extend(self) -> None:
        """More came of a reply that is passed on; bytes that were read before a pause do not end the pause."""
        if self.deadline != float("inf"):
            self.deadline = self.pool.now() + self.pool.timeout_s

    def fail(self, error: UpstreamError) -> None:
        """Give up on this connection; a kept one that broke before any answer says nothing of the replica: try anew."""
        connection, self.connection = self.connection, None
        if isinstance(error, Reset) and connection is not None and connection.is_stale and not self.retried:
            self.retried = True
            self.pool.open_for(self)
            return
        self.pool.pending.discard(self)
        self.on_error(error)
