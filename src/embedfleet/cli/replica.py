"""Orders about one replica of a running fleet, and the wait until an order is carried out."""

import sys
import time
from typing import NoReturn
from urllib.parse import quote

from embedfleet.cli.output import say
from embedfleet.cli.query import ask, ask_status
from embedfleet.control.run.fleet_lock import FleetLock
from embedfleet.control.status import ReplicaStatus
from embedfleet.errors import FleetError
from embedfleet.types import ReplicaState

NOT_RUNNING = 3
_POLL_S = 0.1


def order(lock: FleetLock, name: str, verb: str) -> None:
    """Send the fleet an order about a replica; end this process if no fleet runs.

    Raises:
        UsageError: The fleet refuses.
        FleetError: The fleet does not answer, fails to carry out the order, or does not know it.
    """
    if ask(lock, "POST", f"/replicas/{quote(name, safe='')}/{verb}") is None:
        end_without_fleet(lock)


def until_state(lock: FleetLock, name: str, wanted: ReplicaState, timeout_s: float) -> ReplicaStatus:
    """Wait until a replica is in a state, and print its state and load whenever they change.

    Returns:
        Status of the replica.

    Raises:
        FleetError: The replica is not in that state within ``timeout_s`` seconds.
    """
    deadline = time.monotonic() + timeout_s
    said = ""
    while True:
        status = ask_status(lock)
        if status is None:
            end_without_fleet(lock)
        replica = status.replica(name)
        if replica is not None and replica.state is wanted:
            return replica
        news = describe(replica)
        if time.monotonic() > deadline:
            raise FleetError(
                f"after {timeout_s:g} s {name} is {news}", "see `embedfleet status`; the order remains in effect"
            )
        if news != said:
            say(f"{name} is {news}")
            said = news
        time.sleep(_POLL_S)


def describe(replica: ReplicaStatus | None) -> str:
    """Describe a replica's state, load and reason in words; None is a replica that the fleet does not have."""
    if replica is None:
        return "not there"
    load = f", {replica.load.requests} under way" if replica.load and replica.load.requests else ""
    reason = f": {replica.reason}" if replica.reason else ""
    return f"{replica.state}{load}{reason}"


def end_without_fleet(lock: FleetLock) -> NoReturn:
    """End the process, and say that no fleet runs."""
    say(f"no fleet runs in {lock.folder}")
    sys.exit(NOT_RUNNING)
