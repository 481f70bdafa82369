"""TEI's permits and its queue, pure: who is let in, and which texts run together."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from embedfleet.simulation.batch_cost import BatchCost


class Owner(Protocol):
    """The request that a text belongs to."""

    gone: bool  # its client left


@dataclass(slots=True, eq=False)
class Entry:
    """One text on its way.

    Attributes:
        text: itself.
        tokens: of it.
        owner: its request.
        queued_at: when it came.
        deadly: it ends whoever computes it.
    """

    text: str
    tokens: int
    owner: Owner
    queued_at: float
    deadly: bool = False


class Permits:
    """One for each text that was let in and is not answered."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.taken = 0

    def take(self, count: int) -> bool:
        """All of them, or none and False."""
        if self.taken + count > self.limit:
            return False
        self.taken += count
        return True

    def give_back(self, count: int) -> None:
        """After an answer, or when the client left."""
        assert 0 <= count <= self.taken
        self.taken -= count


class Queue:
    """Texts in the order of their coming.

    Args:
        cost: ``batch_tokens`` bounds a batch; padded, every text of it counts as much as its longest.
    """

    def __init__(self, cost: BatchCost) -> None:
        self._cost = cost
        self._entries: deque[Entry] = deque()
        self.dropped = 0  # texts whose client had left when their turn came

    def __len__(self) -> int:
        return len(self._entries)

    def append(self, entries: Iterable[Entry]) -> None:
        """At the end."""
        self._entries.extend(entries)

    def clear(self) -> None:
        """Lose all, as a process that dies does."""
        self._entries.clear()

    def next_batch(self) -> list[Entry]:
        """Texts from the front until the next one does not fit; at least one, if any is wanted still."""
        batch: list[Entry] = []
        total = longest = 0
        while self._entries:
            entry = self._entries[0]
            if entry.owner.gone:
                self._entries.popleft()
                self.dropped += 1
                continue
            longest = max(longest, entry.tokens)
            total = longest * (len(batch) + 1) if self._cost.padded else total + entry.tokens
            if batch and total > self._cost.batch_tokens:
                break
            batch.append(self._entries.popleft())
        return batch
