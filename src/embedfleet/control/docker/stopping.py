"""Stopping a container."""

from embedfleet.control.docker.client import Docker
from embedfleet.control.docker.container import Container
from embedfleet.control.host.activity import is_stopped


def stop_container(docker: Docker, container: Container, grace_s: float) -> None:
    """Let a container finish its requests and end; kill it at once if a signal (SIGSTOP) keeps it from hearing that.

    Raises:
        DockerError: The daemon cannot do it.
    """
    docker.stop(container.id, 0 if is_stopped(container.pid, container=container.id) else grace_s)
