"""One finding of the doctor, and the refusal to start while something is in the way."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from embedfleet.errors import UsageError

State = Literal["ok", "warn", "blocked"]


@dataclass(frozen=True, slots=True)
class CheckResult:
    """One thing that was looked at.

    Attributes:
        id: stable, for programs.
        hint: what to do; empty if all is well.
    """

    id: str
    state: State
    message: str
    hint: str = ""


def refuse_blocked(checks: Sequence[CheckResult]) -> None:
    """Raise one error for everything that is in the way.

    Raises:
        UsageError: something is.
    """
    found = [check for check in checks if check.state == "blocked"]
    if found:
        lines = [f"{check.id}: {check.message}" + (f" ({check.hint})" if check.hint else "") for check in found]
        count = "1 thing is" if len(found) == 1 else f"{len(found)} things are"
        raise UsageError(f"{count} in the way\n  " + "\n  ".join(lines), "`embedfleet doctor` shows every check")
