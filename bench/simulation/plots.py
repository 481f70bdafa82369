"""The images of an experiment: online p99 and bulk p99 by load, and by number of replicas."""

from collections.abc import Mapping
from pathlib import Path

from bench.measuring.report import say
from bench.simulation.chart import Points, chart
from bench.simulation.experiments import Experiment
from bench.simulation.policies import OURS
from bench.simulation.tables import Results

_KINDS = ("online", "bulk", "rerank")


def draw(folder: Path, experiment: Experiment, results: Results) -> None:
    """Write the images of an experiment, if it has any.

    Args:
        folder: Folder of the images, made here.
        experiment: Experiment that was run.
        results: Its figures.
    """
    axis = {"load": "load", "scale": "replicas"}.get(experiment.name)
    if axis is None:
        return
    folder.mkdir(parents=True, exist_ok=True)
    for kind in _KINDS:
        for suffix, lines in _lines(experiment, results, f"{kind}_p99_ms").items():
            title = f"{kind} p99, {experiment.title}" if not suffix else f"{kind} p99 by replicas, load {suffix}"
            path = folder / "-".join(filter(None, [experiment.name, kind, suffix.strip("%")]))
            path = path.with_suffix(".svg")
            path.write_text(
                chart(title, axis, f"p99 of {kind} requests", lines, own=OURS, tick="g" if suffix else ".0%")
            )
            say(f"wrote {path}")


def _lines(experiment: Experiment, results: Results, figure: str) -> Mapping[str, Mapping[str, Points]]:
    """Lines by policy of each image; the images are by load if the horizontal axis is the number of replicas."""
    images: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for (row, column), figures in results.items():
        if figure not in figures:
            continue
        cell = experiment.cells[row, column]
        by_replicas = experiment.name == "scale"
        image = images.setdefault(f"{cell.load:.0%}" if by_replicas else "", {})
        image.setdefault(row, []).append((cell.replicas if by_replicas else cell.load, figures[figure]))
    return images
