"""Virtual time: a queue of events in order of time."""

from collections.abc import Callable
from heapq import heappop, heappush


class Clock:
    """A clock that runs functions at their times; with equal times, in the order of scheduling.

    Attributes:
        now: Current time, in seconds.
    """

    def __init__(self) -> None:
        self.now = 0.0
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0

    def at(self, when: float, act: Callable[[], None]) -> None:
        """Schedule a function for a time; a past time means now."""
        self._count += 1
        heappush(self._heap, (max(when, self.now), self._count, act))

    def run(self, until: float) -> None:
        """Advance to a time, and run everything that is scheduled until then."""
        while self._heap and self._heap[0][0] <= until:
            self.now, _, act = heappop(self._heap)
            act()
        self.now = until
