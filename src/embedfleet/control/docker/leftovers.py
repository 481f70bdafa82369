"""Removal and status of the containers and networks that a fleet left, which are found by their labels alone."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from embedfleet.control.docker.client import Docker
from embedfleet.control.docker.container import Container
from embedfleet.control.docker.replaced_containers import is_set_aside
from embedfleet.control.docker.stopping import stop_container
from embedfleet.control.status import BalancerStatus, ProcessStatus, ReplicaStatus, ServiceStatus
from embedfleet.dialects.routes import path_of
from embedfleet.errors import DockerError, TimedOut, UpstreamError
from embedfleet.http.client import fetch
from embedfleet.probe.prober import Prober
from embedfleet.types import Endpoint, ReplicaReport, ReplicaState

log = logging.getLogger(__name__)

_PROBE_S = 10.0
_ANSWER_S = 2.0
_GRACE_S = 30.0
# A gateway that was a process ended with its fleet.
_NO_BALANCER = BalancerStatus(ProcessStatus("", phase="gone"))


def remove_container(docker: Docker, container: Container, grace_s: float = _GRACE_S) -> None:
    """Let a container finish its requests, then remove it, even if it cannot be stopped."""
    try:
        stop_container(docker, container, grace_s)
    except DockerError as error:
        log.warning("%s cannot be stopped: %s", container.name, error.message)
    docker.remove(container.id)


def remove_all(docker: Docker | None, grace_s: float = _GRACE_S) -> list[str]:
    """Remove every container and network of ours, balancers first.

    Args:
        docker: Docker daemon; None if there is none.
        grace_s: Time for requests under way to finish, in seconds.

    Returns:
        Names of the containers and networks that were removed.

    Raises:
        DockerError: Some could not be removed; all others were.
    """
    if docker is None:
        return []
    removed: list[str] = []
    failures: list[DockerError] = []
    for container in sorted(docker.ours(), key=lambda container: container.kind != "balancer"):
        try:
            remove_container(docker, container, grace_s)
            removed.append(container.name)
        except DockerError as error:
            failures.append(DockerError(f"{container.name} cannot be removed: {error.message}", error.hint))
    for name in docker.networks():
        try:
            removed += [name] if docker.remove_network(name) else []
        except DockerError as error:
            failures.append(DockerError(f"the network {name} cannot be removed: {error.message}", error.hint))
    if failures:
        raise DockerError("; ".join(failure.message for failure in failures), failures[0].hint)
    return removed


async def leftovers_status(
    docker: Docker, ask: Callable[[str], Awaitable[Sequence[ReplicaReport]]]
) -> tuple[ServiceStatus, ...]:
    """Return the status of the services whose containers exist although no fleet runs.

    Args:
        docker: Docker daemon.
        ask: Function that asks a service's gateway for the reports of its replicas; a replica without one is probed.
    """
    containers = [container for container in await asyncio.to_thread(docker.ours) if not is_set_aside(container)]
    names = dict.fromkeys(container.service for container in containers if container.service)
    return tuple(
        [await _service(name, [c for c in containers if c.service == name], await ask(name)) for name in names]
    )


async def _service(name: str, containers: Sequence[Container], reports: Sequence[ReplicaReport]) -> ServiceStatus:
    told = {report.id: report for report in reports}
    replicas = [container for container in containers if container.kind == "replica"]
    balancer = next((container for container in containers if container.kind == "balancer"), None)
    return ServiceStatus(
        name,
        balancer.published if balancer else 0,
        await _balancer(balancer) if balancer else _NO_BALANCER,
        tuple(await asyncio.gather(*(_replica(each, told.get(each.name)) for each in replicas))),
    )


async def _balancer(container: Container) -> BalancerStatus:
    """Return the status of a balancer's container; one that listens but does not answer is silent."""
    try:
        if container.url:
            await fetch(f"{container.url}{path_of('live')}", timeout_s=_ANSWER_S)
    except TimedOut as error:
        return BalancerStatus(replace(_process(container), phase="silent"), str(error))
    except UpstreamError:  # the container may listen on an address that this machine does not have
        pass
    return BalancerStatus(_process(container))


async def _replica(container: Container, told: ReplicaReport | None) -> ReplicaStatus:
    if told is not None:
        return ReplicaStatus(_process(container), container.url, told.state, told.reason, told.load)
    reason = f"container is {container.status}"
    if container.url:
        reason = await Prober(_PROBE_S).probe(Endpoint(container.name, container.url), [])
    state = ReplicaState.EJECTED if reason else ReplicaState.ACTIVE
    return ReplicaStatus(_process(container), container.url, state, reason)


def _process(container: Container) -> ProcessStatus:
    return ProcessStatus(container.name, container.pid or None, container.status, container.restarts)
