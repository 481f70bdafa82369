"""Virtual time: what is to happen, in order."""

from collections.abc import Callable
from heapq import heappop, heappush


class Clock:
    """Runs what was asked for at its time; of equal times, in the order in which it was asked for."""

    def __init__(self) -> None:
        self.now = 0.0
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0

    def at(self, when: float, act: Callable[[], None]) -> None:
        """Do something at a time; at once if that is past."""
        self._count += 1
        heappush(self._heap, (max(when, self.now), self._count, act))

    def run(self, until: float) -> None:
        """Let time pass."""
        while self._heap and self._heap[0][0] <= until:
            self.now, _, act = heappop(self._heap)
            act()
        self.now = until
