"""Figures of a run with poisonous requests, for each second and in total. Pure."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from embedfleet.load.tally import Outcome, quantile
from embedfleet.load.verdict import Verdict

DEATHS_OF_A_BODY = 2  # the allowed maximum
History = Sequence[tuple[float, bool]]
"""Changes of a replica: time, and whether it serves from then on."""


@dataclass(slots=True)
class Seen:
    """Observations of one run; times are seconds since its start.

    Attributes:
        seconds: Length of the time in which checked requests were sent.
        bodies: Number of poisonous bodies.
        outcomes: Outcomes of the checked requests.
        histories: History of each replica.
        pss_mb: Samples of the front door's memory: time and megabytes.
        lags: Samples of ``/livez``: time and seconds until the answer.
        poisonous: Poisonous requests: time and status, or the error's name.
    """

    seconds: float
    bodies: int
    outcomes: Sequence[Outcome]
    histories: Sequence[History]
    pss_mb: list[tuple[float, float]] = field(default_factory=list)
    lags: list[tuple[float, float]] = field(default_factory=list)
    poisonous: list[tuple[float, str]] = field(default_factory=list)


def series(seen: Seen) -> list[dict[str, Any]]:
    """A row of figures for each second."""
    return [_row(seen, second) for second in range(int(seen.seconds))]


def _row(seen: Seen, second: int) -> dict[str, Any]:
    outcomes = [one for one in seen.outcomes if second <= one.at_s < second + 1]
    right = [one.latency_s for one in outcomes if one.verdict is Verdict.RIGHT]
    return {
        "second": second,
        "deaths": deaths(seen.histories, until=second + 1),
        "serving": fewest(seen.histories, second, second + 1),
        "answered": len(right),
        "failed": len(outcomes) - len(right),
        "p50_ms": _ms(quantile(right, 0.5)),
        "p99_ms": _ms(quantile(right, 0.99)),
        "pss_mb": _last(seen.pss_mb, second + 1),
        "lag_ms": _ms(max((lag for at, lag in seen.lags if second <= at < second + 1), default=None)),
        "poisonous": sum(second <= at < second + 1 for at, _ in seen.poisonous),
    }


def result(seen: Seen) -> dict[str, Any]:
    """Figures of the whole run, and whether it passed."""
    died = deaths(seen.histories)
    failed = sum(one.verdict is not Verdict.RIGHT for one in seen.outcomes)
    least = fewest(seen.histories, 0.0, float("inf"))
    right = [one.latency_s for one in seen.outcomes if one.verdict is Verdict.RIGHT]
    memory = [value for _, value in seen.pss_mb]
    return {
        "deaths": died,
        "deaths_at_most": DEATHS_OF_A_BODY * seen.bodies,
        "verified": len(seen.outcomes),
        "verified_failed": failed,
        "fewest_serving": least,
        "holds": died <= DEATHS_OF_A_BODY * seen.bodies and failed == 0 and least > 0,
        "p50_ms": _ms(quantile(right, 0.5)),
        "p99_ms": _ms(quantile(right, 0.99)),
        "pss_mb": [memory[0], max(memory), memory[-1]] if memory else None,
        "lag_max_ms": _ms(max((lag for _, lag in seen.lags), default=None)),
        "poisonous": dict(Counter(status for _, status in seen.poisonous).most_common()),
    }


def deaths(histories: Sequence[History], until: float = float("inf")) -> int:
    """Number of deaths of all replicas."""
    return sum(not serving for history in histories for at, serving in history if at < until)


def fewest(histories: Sequence[History], since: float, until: float) -> int:
    """The fewest replicas that served at any moment of a time span."""
    serving = sum(_serving(history, since) for history in histories)
    least = serving
    changes = sorted((at, served) for history in histories for at, served in history if since < at < until)
    for _, served in changes:
        serving += 1 if served else -1
        least = min(least, serving)
    return least


def table(rows: Sequence[dict[str, Any]]) -> str:
    """A table of the rows for people."""
    names = list(rows[0]) if rows else []
    lines = [names, *([("-" if value is None else f"{value:g}") for value in row.values()] for row in rows)]
    return "\n".join("  ".join(text.rjust(9) for text in line) for line in lines)


def _serving(history: History, at: float) -> bool:
    """Whether a replica serves at a moment."""
    states = [serving for changed, serving in history if changed <= at]
    return bool(states) and states[-1]


def _last(values: Sequence[tuple[float, float]], until: float) -> float | None:
    found = [value for at, value in values if at < until]
    return found[-1] if found else None


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 1)
