"""Draining of a replica on an operator's order, and the cases in which the order is refused.

The fleet keeps the order and repeats it to a balancer that is started or reloaded. The order ends with the fleet: the
next fleet sends requests to all its replicas.
"""

from collections.abc import Mapping

from embedfleet.control.run.supervisor import Supervisor
from embedfleet.errors import UsageError
from embedfleet.types import ReplicaReport, ReplicaState

_SERVING = frozenset({ReplicaState.ACTIVE, ReplicaState.OUTDATED})


async def drain(supervisor: Supervisor, name: str, *, force: bool) -> None:
    """Stop sending requests to a replica.

    Args:
        supervisor: Supervisor of the fleet.
        name: Name of the replica.
        force: Whether to drain it even if no other replica of its service serves.

    Raises:
        UsageError: There is no such replica, or no other one serves and ``force`` is False.
    """
    child = supervisor.replica(name)
    service = supervisor.services[child.spec.service]
    if not force:
        drained = {other.name for other in service.replicas if other.is_drained}
        if not serving_without(name, await service.reports(), drained):
            raise UsageError(
                f"no other replica of {service.name} serves, so without {name} the service refuses requests",
                "wait until `embedfleet status` shows another as active, or give --force",
            )
    supervisor.set_drained(child, is_drained=True)


def undrain(supervisor: Supervisor, name: str) -> None:
    """Let a replica have requests again once it has inferred.

    Raises:
        UsageError: There is no such replica.
    """
    supervisor.set_drained(supervisor.replica(name), is_drained=False)


def serving_without(name: str, reports: Mapping[str, ReplicaReport], drained: set[str]) -> set[str]:
    """Return the names of the replicas that serve besides a given one.

    Args:
        name: Name of the replica that is left out.
        reports: Reports of the balancer, by name of the replica. An outdated replica serves until it is replaced.
        drained: Names of the replicas that an order drains, even if the balancer has not acted on it yet.
    """
    serving = {other for other, report in reports.items() if report.state in _SERVING}
    return serving - drained - {name}
