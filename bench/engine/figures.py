"""Ratios of medians over rounds."""

import statistics
from collections.abc import Mapping, Sequence

from bench.engine.cells import Cell, Rate
from bench.engine.work import MINILM

Rounds = Mapping[str, Mapping[str, Sequence[Rate]]]
"""Contestant → cell → rate of each round."""


def medians(rounds: Rounds) -> dict[str, dict[str, float]]:
    """Tokens per second of each contestant at each cell."""
    return {
        name: {cell: statistics.median(rate.tokens_per_s for rate in rates) for cell, rates in cells.items()}
        for name, cells in rounds.items()
    }


def per_cpu_second(rounds: Rounds) -> dict[str, dict[str, int]]:
    """Median tokens per second of the server's CPU time, which other processes on its core do not affect.

    Servers whose process is unknown, and so whose CPU time is 0, are left out.
    """
    return {
        name: {
            cell: round(statistics.median(sum(rate.lengths) / max(rate.cpu_s, 0.01) for rate in rates))
            for cell, rates in cells.items()
        }
        for name, cells in rounds.items()
        if any(rate.cpu_s for rates in cells.values() for rate in rates)
    }


def over(rounds: Rounds, rival: str) -> dict[str, float]:
    """Our tokens per second over a rival's, by cell; empty if the rival is not installed."""
    middle = medians(rounds)
    return {cell: round(middle["engine"][cell] / rate, 3) for cell, rate in middle.get(rival, {}).items()}


def least(ratios: Mapping[str, float], *, mixed: bool = False) -> float | None:
    """The worst ratio of the cells with texts of mixed length, or of the others; None if there is none."""
    values = [value for cell, value in ratios.items() if ("mixed" in cell) == mixed]
    return min(values, default=None)


def operations_per_s(rate: Rate) -> float:
    """MiniLM's operations on the texts' own tokens, per second of the server's CPU time."""
    return sum(map(MINILM.flops, rate.lengths)) / max(rate.cpu_s, 0.01)


def busiest(cells: Sequence[Cell]) -> Cell:
    """The cell with the most texts in flight, which leaves a server no pause."""
    return max(cells, key=lambda cell: (cell.clients * cell.texts, cell.clients))
