"""The queues: online chunks by deadline, bulk requests in order of arrival, and chunks that wait for their trial."""

from collections import deque
from collections.abc import Iterator
from heapq import heapify, heappop, heappush

from embedfleet.gateway.dispatch.request import Chunk, Request


class OnlineQueue:
    """Online chunks, the earliest deadline first; among equal deadlines, in order of arrival.

    Args:
        by_deadline: Whether the queue is ordered by deadline; if not, by arrival. Where all work is one class, clients
            with late deadlines would otherwise always be last.

    Attributes:
        tokens: Estimated tokens of all waiting chunks.
    """

    def __init__(self, *, by_deadline: bool = True) -> None:
        self.tokens = 0
        self._by_deadline = by_deadline
        self._heap: list[tuple[float, int, Chunk]] = []
        self._waiting: set[Chunk] = set()  # a removed chunk stays in the heap until it reaches the top
        self._count = 0

    def __len__(self) -> int:
        """Return the number of waiting chunks."""
        return len(self._waiting)

    def __iter__(self) -> Iterator[Chunk]:
        """Iterate over the chunks in no particular order."""
        return iter(self._waiting)

    @property
    def head(self) -> Chunk | None:
        """The next chunk; None if none waits."""
        while self._heap and self._heap[0][2] not in self._waiting:
            heappop(self._heap)
        return self._heap[0][2] if self._heap else None

    def push(self, chunk: Chunk) -> None:
        """Add a chunk, for the first time or again."""
        self._count += 1
        turn = chunk.deadline if self._by_deadline else chunk.arrived
        heappush(self._heap, (turn, self._count, chunk))
        self._waiting.add(chunk)
        self.tokens += chunk.tokens

    def remove(self, chunk: Chunk) -> None:
        """Remove a chunk, if it is there."""
        if chunk not in self._waiting:
            return
        self._waiting.discard(chunk)
        self.tokens -= chunk.tokens
        if len(self._heap) > 2 * len(self._waiting) + 64:
            self._heap = [entry for entry in self._heap if entry[2] in self._waiting]
            heapify(self._heap)


class BulkQueue:
    """Bulk requests with texts that are in no chunk yet, in order of arrival, and chunks that must be sent again.

    Attributes:
        tokens: Estimated tokens of everything that waits.
        returned: Chunks that failed; they go before the requests.
        requests: Requests with texts that are in no chunk yet.
    """

    def __init__(self) -> None:
        self.tokens = 0
        self.returned: deque[Chunk] = deque()
        self.requests: deque[Request] = deque()

    def __bool__(self) -> bool:
        """Return whether anything waits."""
        return bool(self.requests or self.returned)

    def push(self, request: Request) -> None:
        """Add a request at the end."""
        self.requests.append(request)
        self.tokens += _waiting_tokens(request)

    def give_back(self, chunk: Chunk) -> None:
        """Add a chunk that must be sent again."""
        self.returned.append(chunk)
        self.tokens += chunk.tokens

    def take_back(self, chunk: Chunk) -> None:
        """Remove a returned chunk, if it is there."""
        if chunk in self.returned:
            self.returned.remove(chunk)
            self.tokens -= chunk.tokens

    def remove(self, request: Request) -> None:
        """Remove a request, if it is there; its returned chunks are removed by `take_back`."""
        if request in self.requests:
            self.requests.remove(request)
            self.tokens -= _waiting_tokens(request)


class AccusedQueue:
    """Chunks that wait for their trial in `quarantine`: online chunks first, each class in order of arrival.

    Attributes:
        tokens: Estimated tokens of all waiting chunks.
    """

    def __init__(self) -> None:
        self.tokens = 0
        self._online: dict[Chunk, None] = {}
        self._bulk: dict[Chunk, None] = {}

    def __len__(self) -> int:
        """Return the number of waiting chunks."""
        return len(self._online) + len(self._bulk)

    def __iter__(self) -> Iterator[Chunk]:
        """Iterate over the chunks in the order of their trials."""
        yield from self._online
        yield from self._bulk

    @property
    def head(self) -> Chunk | None:
        """The next chunk; None if none waits."""
        return next(iter(self._online or self._bulk), None)

    def push(self, chunk: Chunk) -> None:
        """Add a chunk after the others of its class."""
        chunk.is_on_trial = False
        (self._online if chunk.is_online else self._bulk)[chunk] = None
        self.tokens += chunk.tokens

    def remove(self, chunk: Chunk) -> None:
        """Remove a chunk, if it is there."""
        queue = self._online if chunk.is_online else self._bulk
        if chunk in queue:
            del queue[chunk]
            self.tokens -= chunk.tokens


def _waiting_tokens(request: Request) -> int:
    """Return the estimated tokens of a request's texts that no part contains yet."""
    return request.tokens if request.split_state is None else request.split_state.waiting_tokens
