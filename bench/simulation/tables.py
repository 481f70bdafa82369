"""The tables of an experiment. Pure."""

from collections.abc import Mapping, Sequence

from bench.simulation.experiments import LATENCIES, RERANK, Experiment
from bench.simulation.policies import OURS
from embedfleet.simulation.figures import Figures

Results = Mapping[tuple[str, str], Figures]


def table(experiment: Experiment, results: Results) -> str:
    """A line per cell and a column per shown figure that any cell has."""
    shown = [name for name in experiment.shown if any(name in figures for figures in results.values())]
    rows = [
        [row, column, *(text(name, figures.get(name)) for name in shown)] for (row, column), figures in results.items()
    ]
    return f"\n{experiment.title}\n" + _align(["", "", *(name.removesuffix("_ms") for name in shown)], rows)


def ratios(experiment: Experiment, results: Results) -> Results:
    """Latencies of each rival's cell, divided by ours in the same place; above 1, ours is better."""
    found: dict[tuple[str, str], Figures] = {}
    for (row, column), figures in results.items():
        policy = experiment.cells[row, column].policy.name
        own = results.get((row.removesuffix(policy) + OURS, column))
        if own is None or policy == OURS:
            continue
        names = [name for name in (*LATENCIES, *RERANK) if name in figures and name in own]
        found[row, column] = {name.removesuffix("_ms"): figures[name] / own[name] for name in names}
    return found


def ratio_table(experiment: Experiment, results: Results) -> str:
    """The table of `ratios`."""
    found = ratios(experiment, results)
    names = list(dict.fromkeys(name for figures in found.values() for name in figures))
    rows = [
        [row, column, *(f"{figures[name]:.3g}x" if name in figures else "-" for name in names)]
        for (row, column), figures in found.items()
    ]
    return "\nover ours\n" + _align(["", "", *names], rows)


def text(name: str, value: float | None) -> str:
    """A figure with its unit, rounded for a table."""
    if value is None:
        return "-"
    if name.endswith("_ms"):
        return f"{value / 1000:.2f} s" if value >= 1000 else f"{value:.0f} ms" if value >= 100 else f"{value:.1f} ms"
    if name.endswith(("_in_objective", "_refused", "repeated")):
        return f"{value:.2%}"
    return f"{value:.2f}" if name.startswith(("useful", "computed")) else f"{value:.0f}"


def _align(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    lines = [
        "  ".join(word.ljust(width) if place == 0 else word.rjust(width) for place, (word, width) in enumerate(pairs))
        for pairs in (list(zip(row, widths, strict=True)) for row in (head, *rows))
    ]
    return "\n".join(lines)
