"""Images of the measured p99 of the mix by load."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.measuring.report import say
from bench.mixed.cells import Cell
from bench.simulation.chart import Points, chart

WORKLOAD = "mix"
OURS = "ours"


def draw(folder: Path, ran: Sequence[Cell], measured: Mapping[str, Mapping[str, Any]]) -> None:
    """Write an image for each kind of request, with the contestants that were measured at several loads.

    Args:
        folder: Folder of the images, made here.
        ran: Cells that were run.
        measured: Median figures by cell name and contestant.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for kind in ("online", "bulk"):
        if found := lines(ran, measured, f"{kind}_p99_ms"):
            path = folder / f"{kind}.svg"
            title = f"{kind} p99, mix, 4 replicas, in real time"
            path.write_text(chart(title, "load", f"p99 of {kind} requests", found, own=OURS, tick=".0%"))
            say(f"wrote {path}")


def lines(ran: Sequence[Cell], measured: Mapping[str, Mapping[str, Any]], figure: str) -> Mapping[str, Points]:
    """Points (load, figure) by contestant, without those that were measured at a single load. Pure."""
    found: dict[str, dict[float, float]] = {}
    for cell in ran:
        if cell.workload == WORKLOAD:
            for name, figures in measured.get(cell.name, {}).items():
                if figures[figure] is not None:
                    found.setdefault(name, {})[cell.load] = figures[figure]
    return {name: sorted(points.items()) for name, points in found.items() if len(points) > 1}
