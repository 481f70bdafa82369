"""What a fleet left in the Docker daemon: found by its labels alone, with no file of ours."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

from embedfleet.control.activity import is_stopped
from embedfleet.control.container import Container
from embedfleet.control.docker import Docker
from embedfleet.errors import TimedOut, UpstreamError
from embedfleet.http.client import fetch
from embedfleet.probe.prober import Prober
from embedfleet.types import Endpoint

_PROBE_S = 10.0
_ANSWER_S = 2.0
_GRACE_S = 30.0


def remove_container(docker: Docker | None, container: Container, grace_s: float = _GRACE_S) -> None:
    """Let a container end what it has, and remove it; one that is stopped would never hear that it is to end."""
    if docker is not None:
        docker.stop(container.id, 0 if is_stopped(container.pid, container=container.id) else grace_s)
        docker.remove(container.id)


def remove_all(docker: Docker | None, grace_s: float = _GRACE_S, keep: AbstractSet[str] = frozenset()) -> list[str]:
    """Remove every container and network of ours, balancers first.

    Args:
        docker: the daemon; None if there is none to ask.
        grace_s: for requests under way.
        keep: names of containers that stay, and so does their network.

    Returns:
        The names of what was removed.
    """
    if docker is None:
        return []
    containers = sorted(docker.ours(), key=lambda container: container.kind != "balancer")
    containers = [container for container in containers if container.name not in keep]
    for container in containers:
        remove_container(docker, container, grace_s)
    networks = [name for name in docker.networks() if docker.remove_network(name)]
    return [container.name for container in containers] + networks


async def remains_status(docker: Docker, ask: Callable[[str], Awaitable[list[dict[str, Any]]]]) -> list[dict[str, Any]]:
    """The services of the containers that are there, as `api.fleet_status` tells those of a fleet that runs.

    Args:
        docker: the daemon.
        ask: the gateway of a service for its replicas; empty where there is none to ask: then each is asked to infer.
    """
    containers = await asyncio.to_thread(docker.ours)
    names = dict.fromkeys(container.service for container in containers if container.service)
    return [await _service(name, [c for c in containers if c.service == name], await ask(name)) for name in names]


async def _service(name: str, containers: Sequence[Container], rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    told = {row["id"]: row for row in rows}
    replicas = [container for container in containers if container.kind == "replica"]
    balancer = next((container for container in containers if container.kind == "balancer"), None)
    return {
        "name": name,
        "port": balancer.published if balancer else 0,
        "gateway": await _balancer(balancer) if balancer else {"id": "", "phase": "gone", "pid": None, "restarts": 0},
        "replicas": list(await asyncio.gather(*(_replica(each, told.get(each.name)) for each in replicas))),
    }


async def _balancer(container: Container) -> dict[str, Any]:
    """A balancer's container; one that listens and gives no answer is silent, whatever the daemon says of it."""
    try:
        if container.url:
            await fetch(f"{container.url}/livez", timeout_s=_ANSWER_S)
    except TimedOut as error:
        return _row(container) | {"phase": "silent", "reason": str(error)}
    except UpstreamError:  # it may listen on another address than ours
        pass
    return _row(container)


async def _replica(container: Container, told: dict[str, Any] | None) -> dict[str, Any]:
    if told is not None:
        return _row(container) | told | {"url": container.url}
    reason = f"container is {container.status}"
    if container.url:
        reason = await Prober(_PROBE_S).probe(Endpoint(container.name, container.url), [])
    return _row(container) | {"state": "ejected" if reason else "active", "reason": reason, "url": container.url}


def _row(container: Container) -> dict[str, Any]:
    return {
        "id": container.name,
        "pid": container.pid or None,
        "phase": container.status,
        "restarts": container.restarts,
        "last_end": "",
        "uptime_s": 0,
        "pss_bytes": 0,
    }
