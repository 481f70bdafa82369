"""Whether the ports that the services want are free: asked before anything is started or stopped."""

import errno
import socket
from collections.abc import Iterable
from collections.abc import Set as AbstractSet

from embedfleet.config.settings import Service
from embedfleet.control.docker.container import Container
from embedfleet.errors import UsageError

_ASK_S = 1.0


def held_ports(containers: Iterable[Container]) -> set[int]:
    """The ports that balancers of ours publish: these they may keep, or hand over; any other must be free."""
    return {each.published for each in containers if each.kind == "balancer" and each.status == "running"} - {0}


def check_ports(
    services: Iterable[Service], *, held: AbstractSet[int] = frozenset(), by_daemon: AbstractSet[str] = frozenset()
) -> None:
    """Bind every service's address for a moment.

    Args:
        services: whose ports.
        held: ports that balancers of ours hold, see `held_ports`.
        by_daemon: services whose port the Docker daemon is to bind. It may where this process may not: a port below
            1024, without root.

    Raises:
        UsageError: addresses that cannot be bound, with the settings that name them.
    """
    wanted = [service for service in services if service.options.port not in held]
    problems = [problem for service in wanted if (problem := _problem(service, by_daemon=service.name in by_daemon))]
    if problems:
        raise UsageError(
            "; ".join(problems), "stop what listens there, or choose other ports (--set embedder.port=9001)"
        )


def _problem(service: Service, *, by_daemon: bool) -> str:
    host, port = service.options.host, service.options.port
    try:
        with socket.socket(_family(host), socket.SOCK_STREAM) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((host, port))
    except OSError as error:
        may_not = by_daemon and error.errno in {errno.EACCES, errno.EPERM}
        if may_not and not _listens(host, port):
            return ""
        is_taken = may_not or error.errno == errno.EADDRINUSE
        reason = "is in use" if is_taken else f"cannot be bound ({error.strerror})"
        return f"port {port} (services.{service.name}.port) {reason}"
    return ""


def _listens(host: str, port: int) -> bool:
    """Whether somebody listens there: all that a process can learn that may not bind."""
    here = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    try:
        socket.create_connection((here, port), _ASK_S).close()
    except OSError:
        return False
    return True


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
