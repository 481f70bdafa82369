"""The graceful stop of a container."""

from embedfleet.control.docker.client import Docker
from embedfleet.control.docker.container import Container
from embedfleet.control.host.activity import is_stopped


def stop_container(docker: Docker, container: Container, grace_s: float) -> None:
    """Let a container finish its requests and end; kill it at once if SIGSTOP keeps it from reacting.

    Raises:
        DockerError: The daemon cannot stop the container.
    """
    docker.stop(container.id, 0 if is_stopped(container.pid, container=container.id) else grace_s)
