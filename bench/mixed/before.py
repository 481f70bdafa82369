"""Comparison of our gateway with another version under the same faults and schedules."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.contestants import of_source
from bench.measuring.report import say
from bench.mixed.faults import FaultCase, perform
from bench.mixed.run import RunResult
from embedfleet.load.tally import counts, quantile
from embedfleet.load.verdict import Verdict

BOUND = 1.1  # a larger ratio of online p99 counts as worse
CASES = ("kill", "kill at 85 %")
SEEDS = 10


@dataclass(slots=True)
class Compared:
    """One fault and its runs now and before, by schedule."""

    name: str
    runs: list[tuple[RunResult, RunResult]] = field(default_factory=list)

    def p99_pairs(self) -> list[tuple[float, float]]:
        """Online p99 of each schedule now and before, in milliseconds."""
        return [(p99_ms([now]), p99_ms([before])) for now, before in self.runs]

    def told(self) -> dict[str, Any]:
        """Online p99 and counts over the requests of all schedules."""
        now, before = [pair[0] for pair in self.runs], [pair[1] for pair in self.runs]
        return {
            "online_p99_of_all_over_before": round(p99_ms(now) / p99_ms(before), 3),
            "now": self._told(now),
            "before": self._told(before),
        }

    def _told(self, runs: Sequence[RunResult]) -> dict[str, Any]:
        count = counts(outcome for run in runs for outcome in run.outcomes)
        return {"online_p99_ms": round(p99_ms(runs), 2), "void": sum(run.figures["void"] for run in runs), **count}


def p99_ms(runs: Sequence[RunResult]) -> float:
    """p99 latency of all online requests with a right answer, in milliseconds."""
    online = (outcome for run in runs for outcome in run.outcomes if outcome.kind == "online")
    return (quantile([one.latency_s for one in online if one.verdict is Verdict.RIGHT], 0.99) or 0.0) * 1000


def compare(cases: Sequence[FaultCase], sources: tuple[Path, Path], seeds: int) -> list[Compared]:
    """Run every schedule of every fault with both versions; the order alternates from schedule to schedule.

    Args:
        cases: Faults.
        sources: Source folders now and before.
        seeds: Number of schedules.
    """
    doors = [of_source(source, name) for source, name in zip(sources, ("now", "before"), strict=True)]
    found = [Compared(case.name) for case in cases]
    for seed in range(1, seeds + 1):
        for case, compared in zip(cases, found, strict=True):
            order = (0, 1) if seed % 2 else (1, 0)
            runs = {turn: perform(case, doors[turn], 0, seed) for turn in order}
            compared.runs.append((runs[0], runs[1]))
            say(f"{case.name}, schedule {seed}: online p99 {p99_ms([runs[0]]):.0f} ms, before {p99_ms([runs[1]]):.0f}")
    return found
