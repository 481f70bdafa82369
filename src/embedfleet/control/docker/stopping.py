"""How a container is told to end."""

from embedfleet.control.docker.client import Docker
from embedfleet.control.docker.container import Container
from embedfleet.control.host.activity import is_stopped


def stop_container(docker: Docker, container: Container, grace_s: float) -> None:
    """Have a container end what it has; one that is stopped by a signal would never hear of it, and is killed.

    Raises:
        DockerError: the daemon cannot do it.
    """
    docker.stop(container.id, 0 if is_stopped(container.pid, container=container.id) else grace_s)
