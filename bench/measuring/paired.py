"""Two versions measured side by side, round by round: how much dearer the one is than the other. Pure.

A figure is a cost: less is better. A round measures both versions in turns, so its ratio is of the same moments; the
median over rounds is not moved by a round that something else disturbed. Its interval is between two of the rounds'
ratios, by rank, and asks nothing of how they are distributed.
"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import comb
from typing import Any

BOUND = 1.03  # a ratio above this is worse
ROUNDS = 12
_CONFIDENCE = 0.95
Pairs = Mapping[str, Sequence[tuple[float, float]]]
"""Figure → of each round what it is now, and what it was before."""


@dataclass(frozen=True, slots=True)
class Ratio:
    """Now over before.

    Attributes:
        median: over rounds.
        interval: that holds the true median in 95 of 100 runs; None of fewer than six rounds, which cannot say.
        rounds: how many there were.
    """

    median: float
    interval: tuple[float, float] | None
    rounds: int


def ratio(pairs: Sequence[tuple[float, float]]) -> Ratio:
    """Of one figure.

    Args:
        pairs: now and before, of each round.
    """
    ratios = sorted(now / before for now, before in pairs)
    out = _left_out(len(ratios))
    interval = None if out is None else (ratios[out], ratios[-1 - out])
    return Ratio(statistics.median(ratios), interval, len(ratios))


def turns(number: int) -> tuple[int, int, int, int]:
    """Who is measured in a round, 0 for now and 1 for before: each twice, so that a drift takes from both alike."""
    return (0, 1, 1, 0) if number % 2 == 0 else (1, 0, 0, 1)


def told(pairs: Pairs, bound: float = BOUND) -> dict[str, Any]:
    """For the last line: ratios, each figure in full, and whether none is worse than the bound."""
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
    """For a person."""
    width = max(map(len, pairs), default=0)
    return "\n".join(f"{name:{width}}  {_line(rounds, bound)}" for name, rounds in pairs.items())


def _line(pairs: Sequence[tuple[float, float]], bound: float) -> str:
    one = ratio(pairs)
    now, before = (statistics.median(pair[place] for pair in pairs) for place in (0, 1))
    between = "no interval of so few rounds" if one.interval is None else "{:.3f} to {:.3f}".format(*one.interval)
    verdict = "not worse" if one.median <= bound else f"WORSE than {bound:g}"
    if one.interval is None:
        verdict = "no verdict"
    return f"{one.median:.3f} ({between}; {one.rounds} rounds)  now {now:.5g}, before {before:.5g}  {verdict}"


def _left_out(count: int) -> int | None:
    """How many values at either end of so many are outside of the interval of their median; None if all are too few."""
    missed, out = 0.0, None
    for rank in range((count + 1) // 2):
        missed += 2 * comb(count, rank) / 2**count
        if missed > 1 - _CONFIDENCE:
            break
        out = rank
    return out
