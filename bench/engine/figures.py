"""From rounds of measurements to the ratios that are told: of medians, contestants of one round side by side."""

import statistics
from collections.abc import Mapping, Sequence

from bench.engine.cells import Cell, Rate
from bench.engine.work import MINILM

Rounds = Mapping[str, Mapping[str, Sequence[Rate]]]
"""Contestant → cell → a rate per round."""


def medians(rounds: Rounds) -> dict[str, dict[str, float]]:
    """Tokens per second of each contestant at each cell."""
    return {
        name: {cell: statistics.median(rate.tokens_per_s for rate in rates) for cell, rates in cells.items()}
        for name, cells in rounds.items()
    }


def per_cpu_second(rounds: Rounds) -> dict[str, dict[str, int]]:
    """Tokens per second of the server's processor time: what others took from its core does not count."""
    return {
        name: {
            cell: round(statistics.median(sum(rate.lengths) / max(rate.cpu_s, 0.01) for rate in rates))
            for cell, rates in cells.items()
        }
        for name, cells in rounds.items()
    }


def over(rounds: Rounds, rival: str) -> dict[str, float]:
    """Our tokens per second over a rival's, cell by cell; empty if it was not there."""
    middle = medians(rounds)
    return {cell: round(middle["engine"][cell] / rate, 3) for cell, rate in middle.get(rival, {}).items()}


def least(ratios: Mapping[str, float], *, mixed: bool = False) -> float | None:
    """The worst cell, of those with texts of mixed length or of the others; None without any."""
    values = [value for cell, value in ratios.items() if ("mixed" in cell) == mixed]
    return min(values, default=None)


def operations_per_s(rate: Rate) -> float:
    """Operations of MiniLM on the texts' own tokens, per second of the server's processor time."""
    return sum(map(MINILM.flops, rate.lengths)) / max(rate.cpu_s, 0.01)


def busiest(cells: Sequence[Cell]) -> Cell:
    """The one that leaves a server no pause: most texts asked for at once."""
    return max(cells, key=lambda cell: (cell.clients * cell.texts, cell.clients))
