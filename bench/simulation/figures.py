"""From a ledger to the figures that are told, and from several runs to one. Pure."""

import statistics
from collections.abc import Mapping, Sequence
from itertools import chain

from bench.simulation.door import Ledger
from bench.workload import Arrival, Kind

Figures = dict[str, float]

OBJECTIVE_S: dict[Kind, float] = {"online": 0.25, "rerank": 0.5, "bulk": 10.0}
"""An answer that took longer was of no use."""


def percentile(values: Sequence[float], share: float) -> float:
    """Nearest rank."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def summarize(asked: Sequence[Arrival], ledger: Ledger, start: float, seconds: float, capacity: float) -> Figures:
    """One run.

    Args:
        asked: all arrivals.
        ledger: how they ended.
        start: seconds in which queues fill, which are not counted.
        seconds: of arrivals.
        capacity: tokens per second of all replicas.

    Returns:
        By kind ``{kind}_p50_ms``, ``_p99_ms`` (of answers; what was never answered counts as infinite),
        ``_in_objective`` (share of all that were asked), ``_over_1s``, ``_over_5s`` (how many, never answered
        included), ``_refused`` (share); and of all ``asked``, ``lost`` (never answered), ``refused`` and ``useful``
        (tokens of answers within the objective that came after the start and before the arrivals' end, over capacity).
    """
    in_time = sum(
        arrival.total
        for arrival in asked
        if (wait := ledger.latency_s.get(arrival.number, float("inf"))) <= OBJECTIVE_S[arrival.kind]
        and start <= arrival.at_s + wait < seconds
    )
    figures: Figures = {
        "asked": len(asked),
        "lost": len(asked) - ledger.ended,
        "refused": len(ledger.refused),
        "useful": in_time / (capacity * (seconds - start)),
    }
    for kind in sorted({arrival.kind for arrival in asked}):
        counted = [a for a in asked if a.kind == kind and a.at_s > start]
        figures |= _of_kind(kind, counted, ledger) if counted else {}
    return figures


def _of_kind(kind: Kind, asked: Sequence[Arrival], ledger: Ledger) -> Figures:
    refused = sum(arrival.number in ledger.refused for arrival in asked)
    waits = [ledger.latency_s.get(a.number, float("inf")) for a in asked if a.number not in ledger.refused]
    figures = {
        f"{kind}_in_objective": sum(wait <= OBJECTIVE_S[kind] for wait in waits) / len(asked),
        f"{kind}_over_1s": float(sum(wait > 1 for wait in waits)),
        f"{kind}_over_5s": float(sum(wait > 5 for wait in waits)),
        f"{kind}_refused": refused / len(asked),
    }
    if waits:
        figures |= {
            f"{kind}_p50_ms": percentile(waits, 0.5) * 1000,
            f"{kind}_p99_ms": percentile(waits, 0.99) * 1000,
        }
    return figures


def medians(runs: Sequence[Mapping[str, float]]) -> Figures:
    """Of each figure that any run has."""
    names = dict.fromkeys(chain.from_iterable(runs))
    return {name: statistics.median(run[name] for run in runs if name in run) for name in names}
