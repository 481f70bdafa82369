"""The results as Markdown, ready for the README. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Outcome:
    """What a step gave.

    Attributes:
        rows: Rows that it measured, also if it failed afterwards.
        error: Why it ended early; empty if it did not.
        seconds: Time that it took.
    """

    rows: Sequence[Mapping[str, Any]] = field(default_factory=list)
    error: str = ""
    seconds: float = 0.0


def markdown(outcomes: Mapping[str, Outcome], facts: Mapping[str, str]) -> str:
    """The whole page.

    Args:
        outcomes: Outcome of each step that was run.
        facts: Device, model, precision, versions and command, by name.
    """
    parts = ["### One GPU", "", *(f"- {name}: {value}" for name, value in facts.items()), ""]
    parts += _speed(outcomes)
    if "families" in outcomes:
        parts += _families(outcomes["families"])
    if "replicas" in outcomes:
        parts += _replicas(outcomes["replicas"])
    failed = [f"- {step}: {outcome.error}" for step, outcome in outcomes.items() if outcome.error]
    if failed:
        parts += ["Not measured, or not whole:", "", *failed, ""]
    return "\n".join(parts)


def families_line(outcome: Outcome) -> str:
    """How many families are right in each precision, and the names of those that are not."""
    counts = []
    for precision in dict.fromkeys(str(row["precision"]) for row in outcome.rows):
        rows = [row for row in outcome.rows if row["precision"] == precision]
        wrong = [str(row["family"]) for row in rows if not row.get("is_right")]
        named = f" (not {', '.join(wrong)})" if wrong else ""
        counts.append(f"{precision} {len(rows) - len(wrong)} of {len(rows)}{named}")
    return "; ".join(counts) or "none was compared"


def _speed(outcomes: Mapping[str, Outcome]) -> list[str]:
    rows = [row for step in ("engine", "sentence-transformers", "tei") for row in _rows(outcomes, step)]
    if not rows:
        return []
    ours = {row["cell"]: row["tokens_per_s"] for row in rows if row["contestant"] == "embedfleet"}
    lines = ["| contestant | measured | tokens per second | embedfleet's over it |", "| --- | --- | --- | --- |"]
    for row in rows:
        over = f"{ours[row['cell']] / row['tokens_per_s']:.2f}" if row["cell"] in ours and row["tokens_per_s"] else ""
        shown = "" if row["contestant"] == "embedfleet" else over
        lines.append(f"| {row['contestant']} | {row['cell']} | {row['tokens_per_s']:,.0f} | {shown} |")
    return [*lines, ""]


def _families(outcome: Outcome) -> list[str]:
    kernels = {row["precision"]: row["kernel"] for row in outcome.rows if "kernel" in row}
    lines = [
        f"Families that equal float32 on the CPU: {families_line(outcome)}.",
        f"Kernel for plain attention: {'; '.join(f'{kind} {name}' for kind, name in kernels.items())}.",
        "",
        "| family | precision | difference over the norm | bound | recorded |",
        "| --- | --- | --- | --- | --- |",
    ]
    for row in outcome.rows:
        found = row["error"] if "error" in row else f"{row['difference']:.1e}" + ("" if row["is_right"] else " WRONG")
        recorded = "yes" if row.get("recorded") else "no"
        lines.append(f"| {row['family']} | {row['precision']} | {found} | {row['tolerance']:.0e} | {recorded} |")
    return [*lines, ""]


def _replicas(outcome: Outcome) -> list[str]:
    if not outcome.rows:
        return []
    lines = ["| replicas on the GPU | tokens per second, all together |", "| --- | --- |"]
    lines += [f"| {row['replicas']} | {row['tokens_per_s']:,.0f} |" for row in outcome.rows]
    return [*lines, "", recommendation(outcome), ""]


def recommendation(outcome: Outcome) -> str:
    """The number of replicas per GPU to set."""
    best = next((int(row["best"]) for row in reversed(outcome.rows) if "best" in row), 1)
    which = "more than one does not pay" if best == 1 else f"{best} pay"
    return f"Replicas per GPU: {which}. Set `replicas` to {best} times the number of GPUs."


def _rows(outcomes: Mapping[str, Outcome], step: str) -> Sequence[Mapping[str, Any]]:
    return outcomes[step].rows if step in outcomes else ()
