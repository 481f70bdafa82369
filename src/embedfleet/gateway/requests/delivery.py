"""Delivery of answers: the interface between requests and the clients behind them."""

from abc import abstractmethod

from embedfleet.errors import RequestError, ServingError
from embedfleet.gateway.dispatch.request import Chunk, Handle, Request
from embedfleet.gateway.upstream.call import Call, CallPool

OK = 200
# Bounds of a collected reply. A vector of 8,192 numbers, more than in any model that we know, takes at most 192 KiB of
# JSON.
_VECTOR_BYTES = 262_144
_SMALL_BYTES = 8_388_608
_MOST_BYTES = 1_073_741_824


class Delivery(Handle):
    """Writes the requests to replicas, checks the replies, and answers the clients of one request.

    The dispatcher's request is passed in, not kept: it refers to its delivery, and a reference back would make a cycle
    that only the garbage collector frees.

    Attributes:
        request_id: Id of the request; empty for a coalesced request.
        is_head: Whether the reply has no body, whatever its length field states.
        is_streamed: Whether a large reply to the whole request is streamed to the client.
    """

    request_id = b""
    is_head = False
    is_streamed = False

    @abstractmethod
    def wire(self, chunk: Chunk, pool: CallPool) -> bytes:
        """Return the bytes of the request for a chunk, as a replica gets it."""

    @abstractmethod
    def sent(self, chunk: Chunk, replica_id: str, now: float) -> None:
        """Record that a chunk of the request is being sent to a replica."""

    @abstractmethod
    def check(self, chunk: Chunk, reply: bytes) -> None:
        """Check that a reply answers every text of a chunk.

        Raises:
            Malformed: The reply does not answer every text.
        """

    @abstractmethod
    def relay(self, chunk: Chunk, call: Call, now: float) -> None:
        """Answer with the reply to a chunk."""

    @abstractmethod
    def refuse(self, request: Request, error: RequestError | ServingError, reason: str, now: float) -> None:
        """Answer with an error of the gateway.

        Args:
            request: The request.
            error: The error.
            reason: Reason for the metrics; empty if it is not counted as refused.
            now: Time in seconds.
        """

    @abstractmethod
    def fault(self, request: Request, now: float) -> None:
        """Handle a failure of the gateway's own code: answer with an error, or serve each client alone."""

    @abstractmethod
    def client_left(self) -> bool:
        """Record that a client left; return whether no other client waits for an answer."""

    def pass_on(self, data: bytes) -> None:
        """Pass on more of a streamed reply."""

    def end(self, request: Request, now: float) -> None:
        """Complete a streamed reply."""

    def break_off(self) -> None:
        """Break off a streamed reply, because the rest of it never comes."""

    def keep(self, chunk: Chunk, call: Call) -> None:
        """Keep the answer to a part until all parts are answered."""

    def join(self, request: Request, now: float) -> None:
        """Answer with the joined answers to all parts."""

    def separate(self, request: Request, now: float) -> None:
        """Serve each client of a shared request alone."""

    def most_bytes(self, chunk: Chunk) -> int:
        """Return the size limit of a collected reply in bytes, far above that of any answer to the chunk."""
        return longest_answer(chunk.texts)


def longest_answer(vectors: int) -> int:
    """Return the size limit in bytes of an answer with the given number of vectors."""
    return min(_SMALL_BYTES + vectors * _VECTOR_BYTES, _MOST_BYTES)


def delivery_of(request: Request) -> Delivery:
    """Return the delivery of a request of the gateway."""
    handle = request.handle
    assert isinstance(handle, Delivery), "every request of the gateway has one"
    return handle
