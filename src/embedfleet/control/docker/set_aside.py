"""What an update replaces is kept until it has succeeded: stopped, under another name, to be put back if it fails."""

import logging
from collections.abc import Collection, Iterable

from embedfleet.control.docker.client import Docker
from embedfleet.control.docker.container import Container
from embedfleet.control.docker.stopping import stop_container
from embedfleet.errors import DockerError

log = logging.getLogger(__name__)

_SUFFIX = ".former"


def is_set_aside(container: Container) -> bool:
    """Whether it was set aside."""
    return container.name.endswith(_SUFFIX)


def original_name(container: Container) -> str:
    """The name that it had."""
    return container.name.removesuffix(_SUFFIX)


def set_aside(docker: Docker, container: Container, grace_s: float) -> None:
    """Stop a container and free its name; one that does not run has nothing to be put back, and is removed.

    Args:
        docker: the daemon.
        container: of ours.
        grace_s: for what it has under way; one that does not obey is killed then.
    """
    stop_container(docker, container, grace_s)
    if container.status != "running":
        docker.remove(container.id)
        return
    if (older := docker.find(container.name + _SUFFIX)) is not None and older.ours:
        docker.remove(older.id)
    docker.rename(container.id, container.name + _SUFFIX)


def put_back(docker: Docker, replaced: Collection[str]) -> list[str]:
    """Start what was set aside, replicas first, where nothing stands in its place.

    Args:
        docker: the daemon.
        replaced: names under which a successor serves: what it replaced is removed.

    Returns:
        The names of what was put back.
    """
    containers = docker.ours()
    taken = {container.name for container in containers}
    balanced = {each.service for each in containers if each.kind == "balancer" and not is_set_aside(each)}
    done = []
    for former in sorted(_formers(containers), key=lambda container: container.kind == "balancer"):
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
            log.error("%s cannot be put back: %s (%s)", name, error.message, error.hint)  # noqa: TRY400 - it says it all
    return done


def remove_set_aside(docker: Docker) -> None:
    """Remove what was set aside: what came in its place serves."""
    for former in _formers(docker.ours()):
        docker.remove(former.id)


def _formers(containers: Iterable[Container]) -> list[Container]:
    return [container for container in containers if is_set_aside(container)]
