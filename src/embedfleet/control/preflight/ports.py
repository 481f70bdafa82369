"""The check that the services' ports are free, before anything is started or stopped."""

import errno
import socket
from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet

from embedfleet.config.settings import Service
from embedfleet.control.docker.container import Container
from embedfleet.control.docker.container_engine import ContainerEngine
from embedfleet.control.plan.specs import ChildSpec, ContainerSpec
from embedfleet.errors import UsageError

_CONNECT_S = 1.0


def held_ports(containers: Iterable[Container]) -> set[int]:
    """Return the ports that balancers of this fleet publish; these may be in use, all others must be free."""
    return {each.published for each in containers if each.kind == "balancer" and each.status == "running"} - {0}


def bound_by_daemon(engine: ContainerEngine | None, plan: Sequence[ChildSpec]) -> set[str]:
    """Return the services whose port the daemon binds with the rights of root; empty for a rootless daemon."""
    if engine is None or engine.is_rootless:
        return set()
    return {spec.service for spec in plan if isinstance(spec, ContainerSpec) and spec.kind == "balancer"}


def check_ports(
    services: Iterable[Service], *, held: AbstractSet[int] = frozenset(), by_daemon: AbstractSet[str] = frozenset()
) -> None:
    """Check that every service's address is free, by binding it for a moment.

    Args:
        services: Services of the fleet.
        held: Ports that may be in use, from `held_ports`.
        by_daemon: Names of the services whose port the Docker daemon binds. Unlike this process, the daemon may bind a
            port below 1024 even if we are not root.

    Raises:
        UsageError: Some addresses cannot be bound; the message names the settings.
    """
    wanted = [service for service in services if service.options.port not in held]
    problems = [problem for service in wanted if (problem := _problem(service, by_daemon=service.name in by_daemon))]
    if problems:
        raise UsageError(
            "; ".join(problems), "stop what listens there, or choose other ports (--set embedder.port=9001)"
        )


def _problem(service: Service, *, by_daemon: bool) -> str:
    """Return why an address cannot be bound; empty if it can."""
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
    """Whether a server accepts connections there; a process that may not bind the port can learn no more."""
    here = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    try:
        socket.create_connection((here, port), _CONNECT_S).close()
    except OSError:
        return False
    return True


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
