"""TEI's permits and its queue: which requests are accepted and which texts run together. Pure."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from embedfleet.simulation.batch_cost import BatchCost


class Owner(Protocol):
    """The request that a text belongs to."""

    gone: bool  # whether its client has left


@dataclass(slots=True, eq=False)
class Entry:
    """One queued text.

    Attributes:
        text: The text.
        tokens: Its tokens.
        owner: Its request.
        queued_at: Time of arrival, in monotonic seconds.
        deadly: Whether it ends the replica that computes it.
    """

    text: str
    tokens: int
    owner: Owner
    queued_at: float
    deadly: bool = False


class Permits:
    """Permits, one for each text that was accepted and is not answered yet."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.taken = 0

    def take(self, count: int) -> bool:
        """Take permits for all texts, or none and return False."""
        if self.taken + count > self.limit:
            return False
        self.taken += count
        return True

    def give_back(self, count: int) -> None:
        """Give permits back after an answer, or when the client has left."""
        assert 0 <= count <= self.taken
        self.taken -= count


class Queue:
    """Texts in order of arrival.

    Args:
        cost: Cost of a batch; its ``batch_tokens`` bound a batch, in which each text counts as the longest if it
            is padded.
    """

    def __init__(self, cost: BatchCost) -> None:
        self._cost = cost
        self._entries: deque[Entry] = deque()
        self.dropped = 0  # texts whose client had left before their turn

    def __len__(self) -> int:
        return len(self._entries)

    def append(self, entries: Iterable[Entry]) -> None:
        """Append the texts of a request."""
        self._entries.extend(entries)

    def clear(self) -> None:
        """Drop all texts, as a dying process does."""
        self._entries.clear()

    def next_batch(self) -> list[Entry]:
        """Take texts from the front until the next one does not fit; at least one, unless no client is left."""
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
