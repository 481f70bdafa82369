"""Keeping a replica out by hand: what is asked, when it is refused.

The wish is the fleet's, not the balancer's: a balancer that is started or reloaded is told again. It ends with the
fleet: the next one sends to all that it has.
"""

from collections.abc import Mapping
from typing import Any

from embedfleet.control.run.child import Child
from embedfleet.control.run.supervisor import Supervisor
from embedfleet.errors import UsageError


async def drain(supervisor: Supervisor, name: str, *, force: bool) -> None:
    """Have nothing more sent to a replica.

    Args:
        supervisor: of the fleet.
        name: of the replica.
        force: even if no other replica of its service serves.

    Raises:
        UsageError: there is no such replica, or nobody else serves.
    """
    child = find(supervisor, name)
    service = child.spec.service
    if not force:
        rows = await supervisor.states(service)
        drained = {other.spec.name for other in supervisor.replicas(service) if other.drained}
        if not serving_without(name, rows, drained):
            raise UsageError(
                f"no other replica of {service} serves: without {name} its requests are refused",
                "wait until another is active, see `embedfleet status`; or give --force",
            )
    supervisor.set_drained(child, drained=True)


def undrain(supervisor: Supervisor, name: str) -> None:
    """Let a replica have requests again once it has inferred.

    Raises:
        UsageError: there is no such replica.
    """
    supervisor.set_drained(find(supervisor, name), drained=False)


def find(supervisor: Supervisor, name: str) -> Child:
    """A replica by its name.

    Raises:
        UsageError: there is none of this name.
    """
    replicas = {child.spec.name: child for service in supervisor.services for child in supervisor.replicas(service)}
    if name not in replicas:
        raise UsageError(f"there is no replica {name}", f"there are: {', '.join(replicas) or 'none'}")
    return replicas[name]


def serving_without(name: str, rows: Mapping[str, Mapping[str, Any]], drained: set[str]) -> set[str]:
    """The replicas that go on serving without one of them.

    Args:
        name: of the one that is to be left out.
        rows: what the balancer says of each, by name. One that is outdated serves until it is replaced.
        drained: those that somebody has drained, whatever the balancer says yet.
    """
    serving = {other for other, row in rows.items() if row["state"] in {"active", "outdated"}}
    return serving - drained - {name}
