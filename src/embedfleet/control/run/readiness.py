"""When a fleet that is started serves, and when it never will."""

import asyncio
import time
from collections.abc import Callable

from embedfleet.control.lifecycle.phase import Phase
from embedfleet.control.run.supervisor import Supervisor
from embedfleet.errors import FleetError

_MOST_DEATHS = 5  # in a row, of a child that has yet to serve: it will not


async def until_serving(supervisor: Supervisor, timeout_s: float, seen: Callable[[dict[str, str]], None]) -> None:
    """Wait until every replica has inferred, its balancer knows, and that balancer listens; not for drained ones.

    Args:
        supervisor: that runs.
        timeout_s: for all of it.
        seen: told the state of every replica whenever it is looked at.

    Raises:
        FleetError: not in time, or a child keeps dying; the message names who and why.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        states: dict[str, str] = {}
        reasons: dict[str, str] = {}
        for service in supervisor.services:
            rows = await supervisor.states(service)
            for child in supervisor.replicas(service):
                row = rows.get(child.spec.name)
                states[child.spec.name] = str(row["state"]) if row else child.observed.phase.value
                reasons[child.spec.name] = str(row["reason"]) if row else child.last_end
                child.served |= states[child.spec.name] == "active"
        seen(states)
        _check_deaths(supervisor)
        late = [name for name, state in states.items() if state != "active" and not supervisor.children[name].drained]
        for balancer in map(supervisor.balancer, supervisor.services):
            if balancer.observed.phase is not Phase.READY:
                late.append(balancer.spec.name)
                states[balancer.spec.name] = balancer.observed.phase.value
                reasons[balancer.spec.name] = balancer.last_end
        if not late:
            return
        if time.monotonic() > deadline:
            why = "; ".join(f"{name} is {states[name]} {reasons[name]}".strip() for name in late)
            raise FleetError(
                f"not ready after {timeout_s:g} s: {why}", "see `embedfleet logs`, or raise ready_timeout_s"
            )
        await asyncio.sleep(0.1)


def _check_deaths(supervisor: Supervisor) -> None:
    for child in supervisor.children.values():
        name, deaths = child.spec.name, child.observed.deaths
        if deaths >= _MOST_DEATHS:
            raise FleetError(
                f"{name} ended {deaths} times in a row, the last time with {child.last_end}",
                f"see `embedfleet logs {name}`",
            )
