"""Choice of the driver that runs a child, by the kind of its spec."""

from embedfleet.control.drivers.base import Driver
from embedfleet.control.plan.specs import ChildSpec, ContainerSpec, ProcessSpec, RemoteSpec


class Drivers:
    """The drivers of a fleet.

    Args:
        processes: Driver of processes.
        remotes: Driver of servers elsewhere.
        containers: Driver of containers; None if the fleet has none.
    """

    def __init__(self, processes: Driver, remotes: Driver, containers: Driver | None) -> None:
        self._processes = processes
        self._remotes = remotes
        self._containers = containers

    def of(self, spec: ChildSpec) -> Driver:
        """Return the driver that runs a child."""
        match spec:
            case ProcessSpec():
                return self._processes
            case RemoteSpec():
                return self._remotes
            case ContainerSpec() if self._containers is not None:
                return self._containers
        raise TypeError(f"no driver of this fleet runs {spec.name}, which is a {type(spec).__name__}")
