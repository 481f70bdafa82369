"""Medians and ratios over runs. Pure."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from bench.contestants import CUT

FIELDS = (
    ("online", "p50_ms"),
    ("online", "p99_ms"),
    ("online", "in_objective"),
    ("bulk", "p50_ms"),
    ("bulk", "p99_ms"),
)
Figures = Mapping[str, Any]
COUNTS = ("sent", "failed", "wrong", "out_of_order")


def median_figures(runs: Sequence[Figures]) -> dict[str, Any]:
    """Median figures of one contestant in one cell and the range of its online p99; void runs count only if all are."""
    valid = [run for run in runs if not run["void"]]
    told = valid or runs
    medians: dict[str, Any] = {f"{kind}_{field}": _median([run[kind][field] for run in told]) for kind, field in FIELDS}
    p99 = [run["online"]["p99_ms"] for run in told if run["online"]["p99_ms"] is not None]
    return medians | {
        "online_p99_range_ms": [min(p99), max(p99)] if p99 else None,
        "useful_of_capacity": _median([run["useful_of_capacity"] for run in told]),
        "computed_of_capacity": _median([run["computed_of_capacity"] for run in told]),
        "refused": sum(run["counts"]["refused"] for run in runs),
        **add_counts(runs),
        "late_ms": max((run["late_ms"]["generator"] or 0.0 for run in runs), default=None),
        "replicas_late_ms": max((run["late_ms"]["replicas"] or 0.0 for run in runs), default=None),
        "runs": len(runs),
        "void": len(runs) - len(valid),
    }


def add_counts(runs: Sequence[Figures]) -> dict[str, int]:
    """Sums of the counts of all runs."""
    return {name: sum(run["counts"][name] for run in runs) for name in COUNTS}


def ratios(contestants: Mapping[str, Figures]) -> dict[str, float | None]:
    """Ratios between rivals and ours in one cell; None if either did not run.

    The best of a kind is the one with the least online p99, even if it has that because it refuses bulk requests; its
    refusals are in the table. Clients that split their batches themselves are compared separately, because no rival
    splits batches.
    """
    ours = contestants.get("ours", {})
    least_conn = contestants.get("nginx-lc", {})
    own = ours.get("online_p99_ms")
    return {
        "online_p99_nginx_over_ours": _over(_best(contestants, "nginx-"), own),
        "online_p99_haproxy_over_ours": _over(_best(contestants, "haproxy-"), own),
        "online_p99_cutting_clients_over_ours": _over(_best(contestants, "", cut=True), own),
        "bulk_p99_ours_over_least_conn": _over(ours.get("bulk_p99_ms"), least_conn.get("bulk_p99_ms")),
    }


def throughput(contestants: Mapping[str, Figures]) -> dict[str, float | None]:
    """Ratio at saturation: tokens computed behind ours, divided by those behind the rival with the busiest replicas."""
    computed = {name: figures["computed_of_capacity"] for name, figures in contestants.items()}
    rivals = [share for name, share in computed.items() if not name.startswith("ours") and share is not None]
    return {"computed_at_120_ours_over_best": _over(computed.get("ours"), max(rivals, default=None))}


def _best(contestants: Mapping[str, Figures], prefix: str, *, cut: bool = False) -> float | None:
    """Least online p99 of a kind, of contestants whose clients split their batches or of the others."""
    named = {name: one for name, one in contestants.items() if name.startswith(prefix)}
    found = [one["online_p99_ms"] for name, one in named.items() if name.endswith(CUT) is cut]
    return min((p99 for p99 in found if p99 is not None), default=None)


def _over(one: float | None, other: float | None) -> float | None:
    return None if one is None or not other else round(one / other, 3)


def _median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return round(statistics.median(known), 3) if known else None
