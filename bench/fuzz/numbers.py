"""Numbers of the cases of a run, until there are enough or the time is over."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

_CASES = 10_000  # number of cases if no limit is given


@dataclass(slots=True)
class Numbers:
    """Case numbers in order; seed and number determine a case.

    Attributes:
        seed: Seed of the run.
        first: First number.
        cases: Number of cases; None for as many as there is time for, or `_CASES` without a time limit.
        seconds: Time after which no further case begins; None for no limit.
        done: Number of cases begun.
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
        """The random source of a case."""
        return Random(f"{self.seed}.{number}")
