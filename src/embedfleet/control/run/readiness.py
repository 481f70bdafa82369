"""The wait until a started fleet serves, or until it is certain that it never will."""

import asyncio
import time
from collections.abc import Callable, Mapping

from embedfleet.control.lifecycle.phase import Phase
from embedfleet.control.run.supervisor import Supervisor
from embedfleet.errors import FleetError
from embedfleet.types import ReplicaState

_MOST_DEATHS = 5  # deaths in a row of a starting fleet's child; more restarts would not help
_POLL_S = 0.1

States = Mapping[str, ReplicaState]
"""State of every replica, by name."""


async def until_serving(supervisor: Supervisor, timeout_s: float, seen: Callable[[States], None]) -> None:
    """Wait until every replica that is not drained has inferred for its balancer, and the balancers listen.

    Args:
        supervisor: Running supervisor of the fleet.
        timeout_s: Longest wait, in seconds.
        seen: Function that takes the states after each poll.

    Raises:
        FleetError: The fleet does not serve within ``timeout_s`` seconds, or a child keeps dying; the message names the
            child and the reason.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        states, reasons = await _observe(supervisor)
        seen(states)
        _check_deaths(supervisor)
        late = [
            f"{name} is {state} {reasons[name]}".strip()
            for name, state in states.items()
            if state is not ReplicaState.ACTIVE and not supervisor.children[name].is_drained
        ]
        for service in supervisor.services.values():
            gateway = service.gateway
            if gateway.observed.phase is not Phase.READY:
                late.append(f"{gateway.name} is {gateway.observed.phase} {gateway.last_end}".strip())
        if not late:
            return
        if time.monotonic() > deadline:
            raise FleetError(
                f"not ready after {timeout_s:g} s: {'; '.join(late)}", "see `embedfleet logs`, or raise ready_timeout_s"
            )
        await asyncio.sleep(_POLL_S)


async def _observe(supervisor: Supervisor) -> tuple[dict[str, ReplicaState], dict[str, str]]:
    """Return the state of every replica, and the reason for it, by name."""
    states: dict[str, ReplicaState] = {}
    reasons: dict[str, str] = {}
    for service in supervisor.services.values():
        reports = await service.reports()
        for child in service.replicas:
            report = reports.get(child.name)
            states[child.name] = report.state if report else child.phase_state
            reasons[child.name] = report.reason if report else child.last_end
    return states, reasons


def _check_deaths(supervisor: Supervisor) -> None:
    for name, child in supervisor.children.items():
        deaths = child.observed.deaths
        if deaths >= _MOST_DEATHS:
            raise FleetError(
                f"{name} ended {deaths} times in a row, the last time with {child.last_end}",
                f"see `embedfleet logs {name}`",
            )
