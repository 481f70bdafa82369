"""What waits: online chunks by deadline, bulk requests in order of arrival, and chunks that wait for their trial."""

from collections import deque
from collections.abc import Iterator
from heapq import heapify, heappop, heappush

from embedfleet.gateway.dispatch.request import Chunk, Request


class OnlineQueue:
    """Chunks, the one with the earliest deadline first; of equal ones the one that came first.

    Args:
        by_deadline: if not, the one that came first goes first, for where all work is one class the deadlines of the
            patient are later.

    Attributes:
        tokens: of all chunks that wait.
    """

    def __init__(self, *, by_deadline: bool = True) -> None:
        self.tokens = 0
        self._by_deadline = by_deadline
        self._heap: list[tuple[float, int, Chunk]] = []
        self._waiting: set[Chunk] = set()  # what was removed stays in the heap until it is its turn
        self._count = 0

    def __len__(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def __iter__(self) -> Iterator[Chunk]:
        """In no order."""
        return iter(self._waiting)

    @property
    def head(self) -> Chunk | None:
        """The next one."""
        while self._heap and self._heap[0][2] not in self._waiting:
            heappop(self._heap)
        return self._heap[0][2] if self._heap else None

    def push(self, chunk: Chunk) -> None:
        """Let a chunk wait, again or for the first time."""
        self._count += 1
        turn = chunk.deadline if self._by_deadline else chunk.request.arrived
        heappush(self._heap, (turn, self._count, chunk))
        self._waiting.add(chunk)
        self.tokens += chunk.tokens

    def remove(self, chunk: Chunk) -> None:
        """Take a chunk out, if it is there."""
        if chunk not in self._waiting:
            return
        self._waiting.discard(chunk)
        self.tokens -= chunk.tokens
        if len(self._heap) > 2 * len(self._waiting) + 64:
            self._heap = [entry for entry in self._heap if entry[2] in self._waiting]
            heapify(self._heap)


class BulkQueue:
    """Requests that are not wholly cut yet, first come first served, and chunks that have to be sent again.

    Attributes:
        tokens: of all that waits.
        returned: chunks that failed; they go before everything else.
        requests: the others.
    """

    def __init__(self) -> None:
        self.tokens = 0
        self.returned: deque[Chunk] = deque()
        self.requests: deque[Request] = deque()

    def __bool__(self) -> bool:
        """Whether anything waits."""
        return bool(self.requests or self.returned)

    def push(self, request: Request) -> None:
        """Let a request wait, behind the others."""
        self.requests.append(request)
        self.tokens += waiting_tokens(request)

    def give_back(self, chunk: Chunk) -> None:
        """Let a chunk wait again, before the others."""
        self.returned.append(chunk)
        self.tokens += chunk.tokens

    def take_back(self, chunk: Chunk) -> None:
        """A chunk that was given back is sent again, or nobody wants it any more."""
        if chunk in self.returned:
            self.returned.remove(chunk)
            self.tokens -= chunk.tokens

    def remove(self, request: Request) -> None:
        """Nobody wants the request any more; its chunks are taken back one by one."""
        if request in self.requests:
            self.requests.remove(request)
            self.tokens -= waiting_tokens(request)


class AccusedQueue:
    """Chunks that are to be tried alone, see `quarantine`: online work first, then in order of arrival.

    Attributes:
        tokens: of all of them.
    """

    def __init__(self) -> None:
        self.tokens = 0
        self._online: dict[Chunk, None] = {}
        self._bulk: dict[Chunk, None] = {}

    def __len__(self) -> int:
        """How many wait."""
        return len(self._online) + len(self._bulk)

    def __iter__(self) -> Iterator[Chunk]:
        """In the order in which they are tried."""
        yield from self._online
        yield from self._bulk

    @property
    def head(self) -> Chunk | None:
        """The next one."""
        return next(iter(self._online or self._bulk), None)

    def push(self, chunk: Chunk) -> None:
        """Let a chunk wait, behind the others of its class."""
        chunk.is_on_trial = False
        (self._online if chunk.online else self._bulk)[chunk] = None
        self.tokens += chunk.tokens

    def remove(self, chunk: Chunk) -> None:
        """Take a chunk out, if it is there."""
        queue = self._online if chunk.online else self._bulk
        if chunk in queue:
            del queue[chunk]
            self.tokens -= chunk.tokens


def waiting_tokens(request: Request) -> int:
    """Of what is not cut off yet."""
    return request.tokens if request.batch is None else request.batch.waiting_tokens
