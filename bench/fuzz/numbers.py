"""Which cases a run has: by number, until there are enough of them or the time is over."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

_CASES = 10_000  # where nothing bounds them


@dataclass(slots=True)
class Numbers:
    """Case numbers in order; the seed and its number make a case again.

    Attributes:
        seed: of the run.
        first: number to begin with.
        cases: how many; None means as many as there is time for, or `_CASES` where that is not bounded either.
        seconds: after which no other is begun; None means any.
        done: how many were begun.
    """

    seed: int = 0
    first: int = 0
    cases: int | None = None
    seconds: float | None = None
    done: int = 0

    def __iter__(self) -> Iterator[int]:
        ends = None if self.seconds is None else time.monotonic() + self.seconds
        cases = _CASES if self.cases is None and self.seconds is None else self.cases
        while (cases is None or self.done < cases) and (ends is None or time.monotonic() < ends):
            self.done += 1
            yield self.first + self.done - 1

    def chance(self, number: int) -> Random:
        """Of one case."""
        return Random(f"{self.seed}.{number}")
