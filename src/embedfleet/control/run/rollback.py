"""Rollback of a failed update: the containers that served before serve again, and the new ones are removed."""

import asyncio
import logging
import time
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass

from embedfleet.config.settings import Service, Settings
from embedfleet.control.balancers.base import Balancer
from embedfleet.control.balancers.contained_gateway import ContainedGateway
from embedfleet.control.balancers.gateway_folder import GatewayFolder
from embedfleet.control.balancers.service_balancer import make_balancer
from embedfleet.control.docker.client import Docker
from embedfleet.control.docker.container import Container
from embedfleet.control.docker.replaced_containers import is_set_aside, original_name, put_back
from embedfleet.control.lifecycle.failed_start import leftovers
from embedfleet.control.plan.specs import ChildSpec, ContainerSpec
from embedfleet.control.plan.state_folders import gateway_folder
from embedfleet.control.run.child import Child
from embedfleet.errors import DockerError, EmbedfleetError, UpstreamError
from embedfleet.types import Endpoint

log = logging.getLogger(__name__)

_POLL_S = 0.2


@dataclass(frozen=True, slots=True)
class FailedFleet:
    """A fleet that failed.

    Attributes:
        settings: Settings in force.
        docker: Docker daemon.
        plan: Plan of the fleet.
        children: Children of the fleet, as they ended.
    """

    settings: Settings
    docker: Docker
    plan: Sequence[ChildSpec]
    children: Sequence[Child]

    @property
    def containers(self) -> list[Child]:
        """The children that are containers."""
        return [child for child in self.children if isinstance(child.spec, ContainerSpec)]


async def roll_back(failed: FailedFleet) -> None:
    """Remove a failed fleet's containers, put back those that they replaced, and wait until these serve."""
    try:
        back = await asyncio.to_thread(_exchange, failed)
        containers = await asyncio.to_thread(failed.docker.ours)
    except DockerError as error:
        log.error("the former containers cannot be put back: %s (%s)", error.message, error.hint)  # noqa: TRY400
        return
    services = {
        child.spec.service for child in failed.containers if child.was_started and not child.start_record.keeps_running
    }
    services |= {container.service for container in containers if container.name in back}
    deadline = time.monotonic() + failed.settings.fleet.ready_timeout_s
    for service in failed.settings.services:
        if service.name in services:
            own = [each for each in containers if each.service == service.name and not is_set_aside(each)]
            await _tell(failed, service, own, back, deadline)


def _exchange(failed: FailedFleet) -> list[str]:
    """Replace new containers by former ones; return the names of those that were put back."""
    docker = failed.docker
    formers = {original_name(container) for container in docker.ours() if is_set_aside(container)}
    decision = leftovers([child.start_record for child in failed.containers], formers)
    for name in decision.removed:
        container = docker.find(name)
        if container is not None and container.is_ours:
            docker.remove(container.id)
    back = put_back(docker, decision.superseded)
    for network in docker.networks():
        docker.remove_network(network)
    return back


async def _tell(
    failed: FailedFleet, service: Service, own: Sequence[Container], back: Collection[str], deadline: float
) -> None:
    """Send a service's balancer its replicas, and wait until those that were put back have inferred."""
    gateways = {container.name for container in own if container.kind == "balancer"}
    names = [container.name for container in own if container.kind == "replica"]
    balancer = _balancer(failed, service, own) if names and gateways else None
    if balancer is None:
        return
    others = {child.spec.service for child in failed.children if child.replaces_other_model}
    try:
        with suppress(TimeoutError):
            async with asyncio.timeout_at(asyncio.get_running_loop().time() + deadline - time.monotonic()):
                await _until_serving(balancer, failed.docker, names, back, met_another=service.name in others)
                return
        log.error("not all of %s serve again: see `embedfleet status`", ", ".join(names))
    except EmbedfleetError as error:
        log.error("%s does not take the list of its replicas: %s", ", ".join(gateways), error)  # noqa: TRY400
    finally:
        await balancer.close()


def _balancer(failed: FailedFleet, service: Service, own: Sequence[Container]) -> Balancer | None:
    """Make the interface to the balancer of a service's containers.

    None for an nginx that is not in this fleet's plan, because its configuration has not changed.
    """
    gateways = {container.name for container in own if container.kind == "balancer"}
    if f"gateway-{service.name}-lb" in gateways:
        addresses = {each.name: f"http://{each.name}:{each.port}" for each in own if each.kind == "replica"}
        return ContainedGateway.open(GatewayFolder(gateway_folder(failed.settings, service.name)), addresses)
    if any(spec.name in gateways for spec in failed.plan):
        return make_balancer(failed.settings, service, failed.docker, failed.plan, lambda: None)
    return None


async def _until_serving(
    balancer: Balancer, docker: Docker, names: Sequence[str], back: Collection[str], *, met_another: bool
) -> None:
    """Send a balancer its replicas, again after each change, until those that were put back serve.

    Args:
        balancer: Interface to the balancer.
        docker: Docker daemon.
        names: Names of the replicas.
        back: Names of the containers that were put back.
        met_another: Whether the balancer may have recorded the model of the failed update.
    """
    told: dict[str, str] = {}
    while True:
        found = [await asyncio.to_thread(docker.find, name) for name in names]
        urls = {container.name: container.url for container in found if container is not None and container.url}
        if urls != told:
            with suppress(UpstreamError):  # the balancer is starting
                if met_another:
                    await balancer.allow_new_model()
                await balancer.publish([Endpoint(name, url) for name, url in urls.items()], frozenset())
                told = urls
        active = {report.id for report in await balancer.reports() if report.is_active}
        if told and active.issuperset(name for name in names if name in back):
            return
        await asyncio.sleep(_POLL_S)
