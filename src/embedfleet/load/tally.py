"""The figures of a run under load. Pure."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from embedfleet.load.verdict import Verdict

KINDS = ("online", "bulk")
LATE_S = 0.002
"""Longest valid delay of the generator or of the replicas at p99, in seconds.

A run with a longer one is void, because it measured them instead of the server under load.
"""


@dataclass(slots=True)
class Outcome:
    """Outcome of one planned request.

    Attributes:
        at_s: Planned time, in seconds since the start.
        kind: ``online`` (reranking included) or ``bulk``.
        tokens: Tokens of all its texts.
        texts: Number of texts in all its calls.
        late_s: Seconds between the planned time and the send.
        latency_s: Seconds from the planned time to the last byte of its last answer.
        verdict: The worst verdict of its calls.
        statuses: Statuses of its calls, 0 for no answer.
        has_retry_after: Whether every refusal had a Retry-After of at least one whole second.
        again: Verdict of the retry after Retry-After; None if there was no retry.
    """

    at_s: float
    kind: str
    tokens: int
    texts: int
    late_s: float
    latency_s: float
    verdict: Verdict
    statuses: tuple[int, ...]
    has_retry_after: bool = True
    again: Verdict | None = None


@dataclass(frozen=True, slots=True)
class Objective:
    """Longest latencies at which an answer is useful, in seconds."""

    online_s: float = 0.25
    bulk_s: float = 10.0

    def met(self, outcome: Outcome) -> bool:
        """Whether the answer was correct and in time."""
        limit = self.online_s if outcome.kind == "online" else self.bulk_s
        return outcome.verdict is Verdict.RIGHT and outcome.latency_s <= limit


def quantile(values: Sequence[float], share: float) -> float | None:
    """The value that ``share`` of all values do not exceed (nearest rank); None if there are no values."""
    if not values:
        return None
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, -int(-share * len(ordered) // 1) - 1))]


def counts(outcomes: Iterable[Outcome]) -> dict[str, int]:
    """Number of requests by verdict; ``failed`` counts all without a 200, ``lost`` those without any answer."""
    found = Counter(outcome.verdict for outcome in outcomes)
    return {
        "sent": found.total(),
        "failed": found[Verdict.FAILED] + found[Verdict.LOST] + found[Verdict.REFUSED],
        "wrong": found[Verdict.WRONG],
        "out_of_order": found[Verdict.OUT_OF_ORDER],
        "refused": found[Verdict.REFUSED],
        "lost": found[Verdict.LOST],
    }


def summary(
    outcomes: Sequence[Outcome],
    *,
    seconds: float,
    warm_up_s: float,
    capacity: float,
    objective: Objective,
    replicas_late_s: Sequence[float],
) -> dict[str, Any]:
    """Figures of one run; times in milliseconds.

    Args:
        outcomes: Outcomes of all requests.
        seconds: Time in which requests were sent, warm-up included.
        warm_up_s: Length of the warm-up, whose requests count only in ``counts``.
        capacity: Tokens per second of all replicas with full batches.
        objective: Longest latencies at which an answer is useful.
        replicas_late_s: Delay of each batch of the replicas, in seconds.
    """
    seen = [outcome for outcome in outcomes if outcome.at_s >= warm_up_s]
    # Requests are selected by their end, so that those begun in the warm-up replace those still open at the end.
    ended = [o for o in outcomes if warm_up_s <= o.at_s + o.latency_s < seconds and objective.met(o)]
    sender_late = quantile([outcome.late_s for outcome in seen], 0.99)
    replica_late = quantile(replicas_late_s, 0.99)
    return {
        "counts": counts(outcomes),
        **{kind: _times([o for o in seen if o.kind == kind], objective) for kind in KINDS},
        "useful_of_capacity": round(sum(o.tokens for o in ended) / ((seconds - warm_up_s) * capacity), 3),
        "statuses": dict(sorted(Counter(str(s) for o in outcomes for s in o.statuses).items())),
        **_refusals(outcomes),
        "late_ms": {"generator": _ms(sender_late), "replicas": _ms(replica_late)},
        "void": max(sender_late or 0.0, replica_late or 0.0) > LATE_S,
    }


def _times(outcomes: Sequence[Outcome], objective: Objective) -> dict[str, Any]:
    right = [outcome.latency_s for outcome in outcomes if outcome.verdict is Verdict.RIGHT]
    return {
        "requests": len(outcomes),
        "p50_ms": _ms(quantile(right, 0.5)),
        "p99_ms": _ms(quantile(right, 0.99)),
        "max_ms": _ms(max(right, default=None)),
        "over_1s": sum(latency > 1 for latency in right) + len(outcomes) - len(right),
        "in_objective": round(sum(map(objective.met, outcomes)) / len(outcomes), 4) if outcomes else None,
    }


def _refusals(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    refused = [outcome for outcome in outcomes if outcome.verdict is Verdict.REFUSED]
    again = [outcome for outcome in refused if outcome.again is not None]
    return {
        "refused_without_retry_after": sum(not outcome.has_retry_after for outcome in refused),
        "obeyed": len(again),
        "then_accepted": sum(outcome.again is Verdict.RIGHT for outcome in again),
    }


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 2)
