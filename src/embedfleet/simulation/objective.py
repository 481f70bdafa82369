"""The largest load that meets a latency objective, by bisection."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from embedfleet.simulation.figures import Figures, medians
from embedfleet.simulation.simulated_run import Cell, simulate

ONLINE_P99_MS, BULK_P99_MS = 250.0, 5000.0
_STEP = 0.02


def meets(figures: Figures) -> bool:
    """Whether online and bulk requests met their objectives."""
    return figures["online_p99_ms"] <= ONLINE_P99_MS and figures.get("bulk_p99_ms", 0.0) <= BULK_P99_MS


def largest(holds: Callable[[float], bool], step: float = _STEP) -> float:
    """Find the largest multiple of ``step`` up to 1 for which ``holds`` is true; 0 if there is none.

    Args:
        holds: Condition that is true up to some load and false above it.
        step: Resolution of the result.
    """
    low, high = 0, round(1 / step) + 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if holds(middle * step) else (low, middle)
    return low * step


def largest_load(cell: Cell, seeds: Sequence[int]) -> float:
    """Find the largest load of a cell at which the median figures over the seeds meet the objective."""

    def holds(load: float) -> bool:
        return meets(medians([simulate(replace(cell, load=load, seed=seed)) for seed in seeds]))

    return largest(holds)
