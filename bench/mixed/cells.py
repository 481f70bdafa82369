"""The cells of the measurement: workloads, loads, contestants and seeds. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bench.fake_tei.cost import measured_cost
from embedfleet.simulation.batch_cost import BatchCost

SLOW_BATCH = BatchCost(a_s=0.048, b_s=106.8e-6)
"""A batch cost with 12 ms and 26.7 us per token, four times slower: at that pace the load generator keeps up."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One workload at one load, for some contestants.

    Attributes:
        workload: Name of a workload in `embedfleet.load.workload.WORKLOADS`.
        load: Offered tokens divided by the tokens that the replicas compute with full batches.
        contestants: Names of the contestants, in order.
        seeds: Seeds of the schedules; each contestant gets each schedule.
        warm_up_s: Seconds at the start that are not measured.
        seconds: Measured seconds.
        cost: Cost of a replica's batch; None for that of the workload (`measured_cost`).
    """

    workload: str
    load: float
    contestants: tuple[str, ...]
    seeds: tuple[int, ...]
    warm_up_s: float
    seconds: float
    cost: BatchCost | None = None

    @property
    def name(self) -> str:
        """Name of the cell, such as ``mix 85 %``, with the cost of a batch if it is given."""
        name = f"{self.workload} {self.load:.0%}".replace("%", " %")
        return f"{name}, {1000 * self.cost.a_s:g} ms + {1e6 * self.cost.b_s:g} us" if self.cost else name

    @property
    def batch_cost(self) -> BatchCost:
        """Cost of a replica's batch."""
        return self.cost or measured_cost(self.workload)

    def runs(self) -> Iterator[tuple[int, str]]:
        """Seed and contestant of each run, interleaved; the order of contestants rotates from seed to seed."""
        for place, seed in enumerate(self.seeds):
            turn = place % len(self.contestants)
            for contestant in (*self.contestants[turn:], *self.contestants[:turn]):
                yield seed, contestant


QUICK = (Cell("mix", 0.85, ("nginx-lc", "ours"), (1,), 4.0, 16.0),)
"""The quick measurement, under a minute."""

_SEEDS = (1, 2, 3, 4, 5)
WHOLE = (
    Cell("mix", 0.85, ("nginx-lc", "haproxy-lc", "haproxy-prio", "nginx-lc+cut", "ours"), _SEEDS, 3.0, 18.0),
    Cell(
        "mix",
        0.85,
        ("nginx-script", "nginx-rr", "nginx-r2", "nginx-new-rr", "nginx-new-lc", "nginx-new-r2", "nginx-new-lt"),
        (1,),
        3.0,
        15.0,
    ),
    Cell("mix", 0.85, ("ours-nosplit", "ours-noclass", "ours-noreserve"), (1,), 3.0, 15.0),
    Cell("mix", 0.70, ("nginx-lc", "ours"), _SEEDS, 3.0, 15.0),
    Cell("mix", 1.20, ("nginx-lc", "ours"), (1, 2, 3), 10.0, 12.0),
    Cell("short", 0.70, ("nginx-lc", "ours"), _SEEDS, 2.0, 7.0),
    Cell("rerank", 0.85, ("nginx-lc", "ours"), (1,), 4.0, 16.0),
)
"""The whole measurement, under half an hour with faults."""

_TWO = ("nginx-lc", "ours")
ALONE = (
    *(Cell(kind, load, _TWO, _SEEDS, 3.0, 12.0, SLOW_BATCH) for kind in ("short", "docs") for load in (0.7, 0.85)),
    *(Cell(kind, 0.7, _TWO, (1, 2, 3), 3.0, 12.0) for kind in ("short", "docs", "title-batches", "rerank")),
)
"""Requests of one kind alone, under half an hour."""


def chosen(
    *,
    workload: str,
    load: float,
    contestants: Sequence[str],
    seeds: int,
    warm_up_s: float,
    seconds: float,
    cost: BatchCost | None = None,
) -> tuple[Cell, ...]:
    """The one cell of a command line."""
    return (Cell(workload, load, tuple(contestants), tuple(range(1, seeds + 1)), warm_up_s, seconds, cost),)


def total_s(cells: Sequence[Cell], around_s: float = 4.0) -> float:
    """Estimated duration of all runs, with ``around_s`` seconds around each, in seconds."""
    return sum((c.warm_up_s + c.seconds + around_s) * len(c.seeds) * len(c.contestants) for c in cells)
