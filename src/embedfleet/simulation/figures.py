"""The figures of a run, from its ledger, and their medians over several runs. Pure."""

import statistics
from collections.abc import Mapping, Sequence
from itertools import chain

from embedfleet.load.workload import Arrival, Kind
from embedfleet.simulation.ledger import Ledger

Figures = dict[str, float]

OBJECTIVE_S: dict[Kind, float] = {"online": 0.25, "rerank": 0.5, "bulk": 10.0}
"""Longest latency at which an answer is useful, in seconds."""


def percentile(values: Sequence[float], share: float) -> float:
    """Return the sorted values' item at index ``share`` times their number, or the last one."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def summarize(asked: Sequence[Arrival], ledger: Ledger, start: float, seconds: float, capacity: float) -> Figures:
    """Compute the figures of one run.

    Args:
        asked: All arrivals.
        ledger: Record of the arrivals' ends.
        start: Length of the settling time, in seconds, which is not counted.
        seconds: Length of the arrivals, in seconds.
        capacity: Tokens per second of all replicas.

    Returns:
        For each kind: ``{kind}_p50_ms`` and ``_p99_ms`` (without refused requests; lost requests count as infinite),
        ``_in_objective`` (share of all requests), ``_over_1s`` and ``_over_5s`` (numbers, lost requests included) and
        ``_refused`` (share). Over all kinds: ``asked``, ``lost`` (never answered), ``refused``, and ``useful`` (tokens
        of answers within the objective, from the settling time to the end of the arrivals, divided by the capacity in
        that time).
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
    """Return the median of each figure over the runs that have it."""
    names = dict.fromkeys(chain.from_iterable(runs))
    return {name: statistics.median(run[name] for run in runs if name in run) for name in names}
