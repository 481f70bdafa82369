"""Comparison of measured figures with those of the simulator for the same requests."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bench.mixed.cells import Cell
from bench.simulation.policies import OURS, POLICIES
from embedfleet.simulation.figures import medians
from embedfleet.simulation.simulated_run import Cell as SimCell
from embedfleet.simulation.simulated_run import simulate

SIMULATED = {"nginx-rr": "round_robin", "nginx-lc": "least_conn", "ours": OURS}
"""Policy of the simulator by contestant."""
FIGURES = ("online_p50_ms", "online_p99_ms", "bulk_p50_ms", "bulk_p99_ms")
REPLICAS = 4


def agreement(
    cells: Sequence[Cell], measured: Mapping[str, Mapping[str, Any]], *, permits: int
) -> list[dict[str, Any]]:
    """Simulated over measured figures, a row for each cell and simulated contestant.

    Args:
        cells: Cells that were run.
        measured: Median figures by cell name and contestant.
        permits: Permits of each replica.
    """
    return [
        {"cell": cell.name, "contestant": name}
        | {figure: _ratio(figures.get(figure), found.get(figure)) for figure in FIGURES}
        for cell in cells
        for name, figures in _simulated(cell, permits=permits)
        if (found := measured.get(cell.name, {}).get(name)) is not None
    ]


def _simulated(cell: Cell, *, permits: int) -> Iterator[tuple[str, Mapping[str, float]]]:
    """Simulated medians over the same seeds, by contestant."""
    for name in cell.contestants:
        if name in SIMULATED:
            yield name, simulated_with(SIMULATED[name], cell, permits=permits)


def simulated_with(policy: str, cell: Cell, *, permits: int | None) -> Mapping[str, float]:
    """Simulated medians of a policy over the seeds of a cell."""
    return medians([simulate(_twin(cell, policy, seed, permits=permits)) for seed in cell.seeds])


def _twin(cell: Cell, policy: str, seed: int, *, permits: int | None) -> SimCell:
    return SimCell(
        policy=POLICIES[policy],
        workload=cell.workload,
        load=cell.load,
        replicas=REPLICAS,
        seconds=cell.warm_up_s + cell.seconds,
        settling=cell.warm_up_s / (cell.warm_up_s + cell.seconds),
        seed=seed,
        cost=cell.batch_cost,
        permits=permits,
    )


def _ratio(simulated: float | None, measured: float | None) -> float | None:
    return round(simulated / measured, 3) if simulated is not None and measured else None
