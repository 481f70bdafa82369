"""A service of a running fleet, with its replicas and its balancer."""

from collections.abc import Sequence

from embedfleet.control.balancers.base import Balancer
from embedfleet.control.lifecycle.replacement_order import held_back
from embedfleet.control.run.child import Child
from embedfleet.errors import UpstreamError
from embedfleet.types import Endpoint, ReplicaReport


class RunningService:
    """A service of a running fleet.

    Args:
        name: Name of the service.
        gateway: Child that is the balancer.
        replicas: Children that are replicas.
        balancer: Interface to the balancer.

    Attributes:
        is_published: Whether the balancer has the present members.
    """

    def __init__(self, name: str, gateway: Child, replicas: Sequence[Child], balancer: Balancer) -> None:
        self.name = name
        self.gateway = gateway
        self.replicas = replicas
        self.balancer = balancer
        self.is_published = True

    @property
    def replaces_other_model(self) -> bool:
        """Whether the fleet found a running replica with another model."""
        return any(child.replaces_other_model for child in self.replicas)

    def members(self) -> tuple[list[Endpoint], set[str]]:
        """Return the addresses of the replicas that have one, and the names of the drained ones."""
        listening = [Endpoint(child.name, child.url) for child in self.replicas if child.url]
        return listening, {child.name for child in self.replicas if child.is_drained}

    async def publish(self) -> None:
        """Send the balancer its members if they have changed; after a failure, the next call tries again."""
        if self.is_published or self.gateway.fault:  # other services must not wait for a silent balancer
            return
        self.is_published = True  # set before the call, so that a change during it is sent too
        try:
            await self.balancer.publish(*self.members())
        except UpstreamError:  # the balancer does not listen yet, or is too busy
            self.is_published = False

    async def reports(self) -> dict[str, ReplicaReport]:
        """Return the balancer's reports of its replicas, by name, corrected by what control knows better."""
        reports = {report.id: report for report in await self.balancer.reports()}
        for child in self.replicas:
            if child.name in reports:
                reports[child.name] = child.correct(reports[child.name])
        return reports

    async def serving(self) -> set[str]:
        """Return the names of the replicas that serve."""
        return {name for name, report in (await self.reports()).items() if report.is_active}

    async def held(self) -> set[str]:
        """Return the names of the children that must not be started yet.

        These are a balancer that lacks what it needs, and replicas whose turn to be replaced has not come.
        """
        held = set()
        adopts = self.gateway.found is not None and not self.gateway.is_stale
        if self.gateway.is_pending and not adopts and not self.balancer.may_start:
            held.add(self.gateway.name)
        stale = [child.name for child in self.replicas if child.is_to_be_replaced]
        if stale:
            neighbours = {child.name: child.is_drained for child in self.replicas if child.name not in stale}
            held |= held_back(stale, neighbours, await self.serving())
        return held

    async def allow_new_model(self) -> None:
        """Let the model of the service change, because an operator allowed it.

        Raises:
            UpstreamError: The balancer does not take the order now.
        """
        for child in self.replicas:
            child.driver.allow_new_model(self.name)
        await self.balancer.allow_new_model()

    async def close(self) -> None:
        """Send the balancer nothing more, and release the interface to it."""
        self.is_published = True
        await self.balancer.close()
