"""Ratios of two versions that were measured side by side, round by round. Pure.

A figure is a cost: less is better. A round measures both versions in turns, so its ratio compares the same moments.
The median over rounds is robust against a disturbed round. Its interval lies between two of the rounds' ratios, chosen
by rank, and assumes nothing about their distribution.
"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import comb
from typing import Any

BOUND = 1.03  # a ratio above this counts as worse
ROUNDS = 12
_CONFIDENCE = 0.95
Pairs = Mapping[str, Sequence[tuple[float, float]]]
"""Figure → its values now and before, of each round."""


@dataclass(frozen=True, slots=True)
class Ratio:
    """The ratio of one figure, now over before.

    Attributes:
        median: Median over the rounds.
        interval: 95 % confidence interval of the median; None with fewer than six rounds, which are too few.
        rounds: Number of rounds.
    """

    median: float
    interval: tuple[float, float] | None
    rounds: int


def ratio(pairs: Sequence[tuple[float, float]]) -> Ratio:
    """The ratio of one figure.

    Args:
        pairs: Values now and before, of each round.
    """
    ratios = sorted(now / before for now, before in pairs)
    out = _left_out(len(ratios))
    interval = None if out is None else (ratios[out], ratios[-1 - out])
    return Ratio(statistics.median(ratios), interval, len(ratios))


def turns(number: int) -> tuple[int, int, int, int]:
    """Order of measurement in a round, 0 for now and 1 for before: each twice, so that a drift affects both alike."""
    return (0, 1, 1, 0) if number % 2 == 0 else (1, 0, 0, 1)


def told(pairs: Pairs, bound: float = BOUND) -> dict[str, Any]:
    """Values for the report: ratios, each figure in full, and whether none is worse than the bound."""
    ratios = {name: ratio(rounds) for name, rounds in pairs.items()}
    figures = {
        name: {
            "over_before": round(one.median, 4),
            "interval": one.interval and [round(end, 4) for end in one.interval],
            "now": round(statistics.median(now for now, _ in pairs[name]), 4),
            "before": round(statistics.median(before for _, before in pairs[name]), 4),
            "rounds": one.rounds,
            "not_worse": one.median <= bound,
        }
        for name, one in ratios.items()
    }
    return {
        "ratios": {f"{name}_over_before": round(one.median, 4) for name, one in ratios.items()},
        "figures": figures,
        "bound": bound,
        "not_worse": bool(ratios) and all(one.median <= bound for one in ratios.values()),
    }


def table(pairs: Pairs, bound: float = BOUND) -> str:
    """A table of all figures for people."""
    width = max(map(len, pairs), default=0)
    return "\n".join(f"{name:{width}}  {_line(rounds, bound)}" for name, rounds in pairs.items())


def _line(pairs: Sequence[tuple[float, float]], bound: float) -> str:
    one = ratio(pairs)
    now, before = (statistics.median(pair[place] for pair in pairs) for place in (0, 1))
    between = "too few rounds for an interval" if one.interval is None else "{:.3f} to {:.3f}".format(*one.interval)
    verdict = "not worse" if one.median <= bound else f"WORSE than {bound:g}"
    if one.interval is None:
        verdict = "no verdict"
    return f"{one.median:.3f} ({between}; {one.rounds} rounds)  now {now:.5g}, before {before:.5g}  {verdict}"


def _left_out(count: int) -> int | None:
    """Number of sorted values below (and above) the interval of their median; None if there are too few values."""
    missed, out = 0.0, None
    for rank in range((count + 1) // 2):
        missed += 2 * comb(count, rank) / 2**count
        if missed > 1 - _CONFIDENCE:
            break
        out = rank
    return out
