"""The largest load at which the objective is met, by bisection."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from bench.simulation.cell import Cell, simulate
from bench.simulation.figures import Figures, medians

ONLINE_P99_MS, BULK_P99_MS = 250.0, 5000.0
_STEP = 0.02


def meets(figures: Figures) -> bool:
    """Whether both kinds were quick enough."""
    return figures["online_p99_ms"] <= ONLINE_P99_MS and figures.get("bulk_p99_ms", 0.0) <= BULK_P99_MS


def largest(holds: Callable[[float], bool], step: float = _STEP) -> float:
    """The largest multiple of ``step`` up to 1 that something holds for, if it holds up to there; 0 if for none."""
    low, high = 0, round(1 / step) + 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if holds(middle * step) else (low, middle)
    return low * step


def largest_load(cell: Cell, seeds: Sequence[int]) -> float:
    """Of a cell's policy; the medians of the seeds' figures count."""

    def holds(load: float) -> bool:
        return meets(medians([simulate(replace(cell, load=load, seed=seed)) for seed in seeds]))

    return largest(holds)
