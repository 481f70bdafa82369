"""Setting containers aside for an update: they are stopped and renamed, then removed or put back."""

import logging
from collections.abc import Collection, Iterable

from embedfleet.control.docker.client import Docker
from embedfleet.control.docker.container import Container
from embedfleet.control.docker.stopping import stop_container
from embedfleet.errors import DockerError

log = logging.getLogger(__name__)

_SUFFIX = ".former"


def is_set_aside(container: Container) -> bool:
    """Whether an update has set this container aside."""
    return container.name.endswith(_SUFFIX)


def original_name(container: Container) -> str:
    """Return the name that a container had before it was set aside."""
    return container.name.removesuffix(_SUFFIX)


def set_aside(docker: Docker, container: Container, grace_s: float) -> None:
    """Stop a container and rename it; one that did not run is removed, because there is nothing to put back.

    Args:
        docker: Docker daemon.
        container: A container of ours.
        grace_s: Time for its requests to finish, in seconds; after that it is killed.
    """
    stop_container(docker, container, grace_s)
    if container.status != "running":
        docker.remove(container.id)
        return
    if (older := docker.find(container.name + _SUFFIX)) is not None and older.is_ours:
        docker.remove(older.id)
    docker.rename(container.id, container.name + _SUFFIX)


def put_back(docker: Docker, replaced: Collection[str]) -> list[str]:
    """Start the containers that were set aside, replicas first, unless a new one has taken their place.

    Args:
        docker: Docker daemon.
        replaced: Names of the new containers that serve; those that they replaced are removed.

    Returns:
        Names of the containers that were put back.
    """
    containers = docker.ours()
    taken = {container.name for container in containers}
    balanced = {each.service for each in containers if each.kind == "balancer" and not is_set_aside(each)}
    done = []
    for former in sorted(_set_aside(containers), key=lambda container: container.kind == "balancer"):
        name = original_name(former)
        try:
            if name in replaced:
                docker.remove(former.id)
            elif name not in taken and not (former.kind == "balancer" and former.service in balanced):
                docker.rename(former.id, name)
                docker.start(former.id)
                log.warning("%s serves again as before", name)
                done.append(name)
        except DockerError as error:
            log.error("%s cannot be put back: %s (%s)", name, error.message, error.hint)  # noqa: TRY400 - says it all
    return done


def remove_set_aside(docker: Docker) -> None:
    """Remove the containers that were set aside, once those that replace them serve."""
    for former in _set_aside(docker.ours()):
        docker.remove(former.id)


def _set_aside(containers: Iterable[Container]) -> list[Container]:
    return [container for container in containers if is_set_aside(container)]
