"""The result of one check before a start, and the refusal to start while a check is blocked."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from embedfleet.errors import FleetError, UsageError

State = Literal["ok", "warn", "blocked"]


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The result of one check.

    Attributes:
        id: Stable name of the check, for programs.
        state: Outcome: ``ok``, ``warn`` if the fleet can start but may have trouble, ``blocked`` if it cannot start.
        message: Finding of the check.
        hint: Remedy; empty if nothing is wrong.
    """

    id: str
    state: State
    message: str
    hint: str = ""


def ok(name: str, message: str) -> CheckResult:
    """Return the result of a check that found nothing wrong."""
    return CheckResult(name, "ok", message)


def warning(name: str, message: str, hint: str) -> CheckResult:
    """Return the result of a check that found something that may cause trouble."""
    return CheckResult(name, "warn", message, hint)


def blocked(name: str, error: UsageError | FleetError) -> CheckResult:
    """Return the result of a check that found a reason why the fleet cannot start."""
    return CheckResult(name, "blocked", error.message, error.hint)


def refuse_blocked(checks: Sequence[CheckResult]) -> None:
    """Refuse to start a fleet if any check is blocked.

    Raises:
        UsageError: Some checks are blocked; the message lists all of them.
    """
    found = [check for check in checks if check.state == "blocked"]
    if found:
        lines = [f"{check.id}: {check.message}" + (f" ({check.hint})" if check.hint else "") for check in found]
        count = "1 problem keeps" if len(found) == 1 else f"{len(found)} problems keep"
        raise UsageError(
            f"{count} the fleet from starting\n  " + "\n  ".join(lines), "`embedfleet doctor` shows every check"
        )
