"""Tables for people. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

_CELL = (
    ("online p50", "online_p50_ms"),
    ("online p99", "online_p99_ms"),
    ("bulk p50", "bulk_p50_ms"),
    ("bulk p99", "bulk_p99_ms"),
    ("useful", "useful_of_capacity"),
    ("computed", "computed_of_capacity"),
    ("sent", "sent"),
    ("failed", "failed"),
    ("refused", "refused"),
    ("wrong", "wrong"),
    ("disorder", "out_of_order"),
    ("void", "void"),
    ("late", "late_ms"),
    ("replicas late", "replicas_late_ms"),
)
_FAULT = (
    ("contestant", "contestant"),
    ("sent", "sent"),
    ("failed", "failed"),
    ("wrong", "wrong"),
    ("disorder", "out_of_order"),
    ("online > 1 s", "online_over_1s"),
    ("in objective", "online_in_objective"),
    ("useful", "useful_of_capacity"),
    ("refused", "refused"),
    ("no Retry-After", "refused_without_retry_after"),
    ("obeyed", "obeyed"),
    ("accepted", "then_accepted"),
)


def cell_table(name: str, contestants: Mapping[str, Mapping[str, Any]]) -> str:
    """Figures of one cell; times in milliseconds."""
    rows = [[one, *(_text(figures[key]) for _, key in _CELL)] for one, figures in contestants.items()]
    return _table([name, *(title for title, _ in _CELL)], rows)


def fault_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Figures of all faults."""
    return _table(
        ["fault", *(title for title, _ in _FAULT)],
        [[str(row["fault"]), *(_text(row[key]) for _, key in _FAULT)] for row in rows],
    )


def agreement_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Simulated over measured figures."""
    keys = ("online_p50_ms", "online_p99_ms", "bulk_p50_ms", "bulk_p99_ms")
    titles = ["cell", "contestant", *(key.removesuffix("_ms").replace("_", " ") for key in keys)]
    return _table(
        titles, [[str(row["cell"]), str(row["contestant"]), *(_text(row[key]) for key in keys)] for row in rows]
    )


def gain_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Ratios to nginx with least_conn of ours and of exact knowledge, and our share of its gain."""
    keys = ("ours", "exact", "share")
    return _table(
        ["cell", "figure", *keys],
        [[str(row["cell"]), str(row["figure"]), *(_text(row[key]) for key in keys)] for row in rows],
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    lines = [
        "  ".join(text.ljust(width) if place == 0 else text.rjust(width) for place, (text, width) in enumerate(pairs))
        for pairs in (list(zip(row, widths, strict=True)) for row in (head, *rows))
    ]
    return "\n".join(lines)


def _text(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.0f}" if value >= 100 else f"{value:.3g}"
    return str(value)
