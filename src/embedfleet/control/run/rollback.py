"""After an update that failed: what served before it serves again, and nothing of it is left."""

import asyncio
import logging
import time
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass

from embedfleet.config.settings import Service, Settings
from embedfleet.control.balancers.base import Balancer
from embedfleet.control.balancers.gateway import ContainedGateway
from embedfleet.control.balancers.gateway_folder import GatewayFolder
from embedfleet.control.balancers.service_balancer import make_balancer
from embedfleet.control.docker.client import Docker
from embedfleet.control.docker.container import Container
from embedfleet.control.docker.former import former_name, is_former, put_back
from embedfleet.control.plan.plan import gateway_folder
from embedfleet.control.plan.specs import ChildSpec, ContainerSpec
from embedfleet.control.run.child import Child
from embedfleet.errors import DockerError, EmbedfleetError, UpstreamError
from embedfleet.types import Endpoint

log = logging.getLogger(__name__)

_POLL_S = 0.2


@dataclass(frozen=True, slots=True)
class FailedFleet:
    """A fleet that failed.

    Attributes:
        settings: in force.
        docker: the daemon.
        plan: of the fleet.
        children: of it, as they ended.
    """

    settings: Settings
    docker: Docker
    plan: Sequence[ChildSpec]
    children: Sequence[Child]

    @property
    def started(self) -> list[Child]:
        """The containers that it started or took over."""
        return [child for child in self.children if isinstance(child.spec, ContainerSpec) and child.was_started]


async def roll_back(failed: FailedFleet) -> None:
    """Remove what a fleet started, put back what that replaced, tell the balancers, and wait until it serves."""
    try:
        back = await asyncio.to_thread(_exchange, failed)
        containers = await asyncio.to_thread(failed.docker.ours)
    except DockerError as error:
        log.error("what was before cannot be put back: %s (%s)", error.message, error.hint)  # noqa: TRY400
        return
    services = {child.spec.service for child in failed.started if not child.is_kept}
    services |= {container.service for container in containers if container.name in back}
    deadline = time.monotonic() + failed.settings.fleet.ready_timeout_s
    for service in failed.settings.services:
        if service.name in services:
            own = [each for each in containers if each.service == service.name and not is_former(each)]
            await _tell(failed, service, own, back, deadline)


def _exchange(failed: FailedFleet) -> list[str]:
    """New containers for former ones; returns the names of these."""
    docker = failed.docker
    formers = {former_name(container) for container in docker.ours() if is_former(container)}
    for child in failed.started:
        name = child.spec.name
        if not child.is_kept or (name in formers and not child.served):
            container = docker.find(name)
            if container is not None and container.ours:
                docker.remove(container.id)
    back = put_back(docker, {child.spec.name for child in failed.started if child.served})
    for network in docker.networks():
        docker.remove_network(network)
    return back


async def _tell(
    failed: FailedFleet, service: Service, own: Sequence[Container], back: Collection[str], deadline: float
) -> None:
    """Tell a service's balancer who its replicas are, and wait until those that were put back have inferred."""
    balancers = {container.name for container in own if container.kind == "balancer"}
    replicas = [container for container in own if container.kind == "replica"]
    if not replicas or not balancers:
        return
    if f"gateway-{service.name}-lb" in balancers:
        addresses = {each.name: f"http://{each.name}:{each.port}" for each in replicas}
        balancer: Balancer = ContainedGateway(GatewayFolder(gateway_folder(failed.settings, service.name)), addresses)
    elif any(spec.name in balancers for spec in failed.plan):
        balancer = make_balancer(failed.settings, service, failed.docker, failed.plan, lambda: None)
    else:  # an nginx that this fleet was to do without: its file is as it was
        return
    others = {c.spec.service for c in failed.children if c.found is not None and c.found.has_other_model}
    names = [each.name for each in replicas]
    try:
        with suppress(TimeoutError):
            async with asyncio.timeout_at(asyncio.get_running_loop().time() + deadline - time.monotonic()):
                await _until_told(
                    balancer,
                    failed.docker,
                    names,
                    back,
                    met_another=service.name in others,
                )
                return
        log.error("not all of %s serve again: see `embedfleet status`", ", ".join(names))
    except EmbedfleetError as error:
        log.error("%s cannot be told who its replicas are: %s", ", ".join(balancers), error)  # noqa: TRY400
    finally:
        await balancer.close()


async def _until_told(
    balancer: Balancer, docker: Docker, names: Sequence[str], back: Collection[str], *, met_another: bool
) -> None:
    """Until those of ``back`` serve; ``met_another`` if the balancer may have met the model that failed."""
    told: dict[str, str] = {}
    while True:
        found = [await asyncio.to_thread(docker.find, name) for name in names]
        urls = {container.name: container.url for container in found if container is not None and container.url}
        if urls != told:
            with suppress(UpstreamError):  # it is being started
                if met_another:
                    await balancer.allow_new_model()
                await balancer.publish([Endpoint(name, url) for name, url in urls.items()], frozenset())
                told = urls
        states = {str(row["id"]): row["state"] for row in await balancer.states()}
        if told and all(states.get(name) == "active" for name in names if name in back):
            return
        await asyncio.sleep(_POLL_S)
