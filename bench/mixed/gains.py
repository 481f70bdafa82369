"""Our gain over nginx with least_conn, beside the gain that exact knowledge of every replica would give."""

from collections.abc import Mapping, Sequence
from typing import Any

from bench.mixed.agreement import simulated_with
from bench.mixed.cells import Cell

_KINDS = {"short": ("online", "online"), "docs": ("online", "online"), "rerank": ("online", "rerank"),
          "title-batches": ("bulk", "bulk")}  # fmt: skip
# By workload of one kind of request: the kind's name in measured and in simulated figures.


def gains(cells: Sequence[Cell], measured: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Ratios to least_conn, a row for p50 and one for p99 of each cell with requests of one kind.

    Args:
        cells: Cells that were run.
        measured: Median figures by cell name and contestant.
    """
    rows: list[dict[str, Any]] = []
    for cell in cells:
        by_contestant = measured.get(cell.name, {})
        if cell.workload not in _KINDS or not {"nginx-lc", "ours"} <= by_contestant.keys():
            continue
        kind, simulated_kind = _KINDS[cell.workload]
        exact = simulated_with("exact_knowledge", cell, permits=None)
        least_conn = simulated_with("least_conn", cell, permits=None)
        for figure in ("p50_ms", "p99_ms"):
            name, simulated_name = f"{kind}_{figure}", f"{simulated_kind}_{figure}"
            ours = _over(by_contestant["ours"].get(name), by_contestant["nginx-lc"].get(name))
            best = _over(exact.get(simulated_name), least_conn.get(simulated_name))
            row = {"cell": cell.name, "figure": figure.removesuffix("_ms"), "ours": ours, "exact": best}
            rows.append(row | {"share": share(ours, best)})
    return rows


def share(ours: float | None, exact: float | None) -> float | None:
    """Our gain as a share of that of exact knowledge; None if either is unknown or exact knowledge gains nothing."""
    if ours is None or exact is None or exact >= 1.0:
        return None
    return round((1 - ours) / (1 - exact), 2)


def _over(one: float | None, other: float | None) -> float | None:
    return None if one is None or not other else round(one / other, 3)
