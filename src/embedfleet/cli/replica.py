"""One replica of a running fleet: orders to it, and waiting for what becomes of it."""

import sys
import time
from typing import Any, NoReturn
from urllib.parse import quote

from embedfleet.cli.output import say
from embedfleet.cli.query import ask
from embedfleet.control.run.fleet_lock import FleetLock
from embedfleet.errors import FleetError

NOT_RUNNING = 3
_POLL_S = 0.1


def change(state: FleetLock, name: str, verb: str) -> None:
    """Give an order; without a fleet, end with its exit code.

    Raises:
        UsageError: it is refused.
        FleetError: the fleet does not answer.
    """
    if ask(state, "POST", f"/replicas/{quote(name, safe='')}/{verb}") is None:
        end_without_fleet(state)


def until_state(state: FleetLock, name: str, wanted: str, timeout_s: float) -> dict[str, Any]:
    """Wait until a replica is in a state, and say what it still has whenever that changes.

    Returns:
        Its row of the status.

    Raises:
        FleetError: not in time.
    """
    deadline = time.monotonic() + timeout_s
    said = ""
    while True:
        status = ask(state, "GET", "/status")
        if status is None:
            end_without_fleet(state)
        row = find_row(status, name)
        if row.get("state") == wanted:
            return row
        news = describe(row)
        if time.monotonic() > deadline:
            raise FleetError(f"after {timeout_s:g} s {name} is {news}", "see `embedfleet status`; the order stands")
        if news != said:
            say(f"{name} is {news}")
            said = news
        time.sleep(_POLL_S)


def find_row(status: dict[str, Any], name: str) -> dict[str, Any]:
    """A replica's row of the status; empty if it is not there."""
    rows = (row for service in status["services"] for row in service["replicas"])
    return next((row for row in rows if row["id"] == name), {})


def describe(row: dict[str, Any]) -> str:
    """State, load and reason, in words."""
    load = f", {row['requests']} under way" if row.get("requests") else ""
    reason = f": {row['reason']}" if row.get("reason") else ""
    return f"{row.get('state', 'not there')}{load}{reason}"


def end_without_fleet(state: FleetLock) -> NoReturn:
    """Say that no fleet runs."""
    say(f"no fleet runs in {state.folder}")
    sys.exit(NOT_RUNNING)
