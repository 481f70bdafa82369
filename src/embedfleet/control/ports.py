"""Whether the ports that the services want are free: asked before anything is started."""

import errno
import socket

from embedfleet.config.settings import Service
from embedfleet.errors import UsageError


def check_ports(services: tuple[Service, ...]) -> None:
    """Bind every service's address for a moment.

    Raises:
        UsageError: addresses that cannot be bound, with the settings that name them.
    """
    problems = [problem for service in services if (problem := _problem(service))]
    if problems:
        raise UsageError(
            "; ".join(problems), "stop what listens there, or choose other ports (--set embedder.port=9001)"
        )


def _problem(service: Service) -> str:
    host, port = service.options.host, service.options.port
    try:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((host, port))
    except OSError as error:
        reason = "is in use" if error.errno == errno.EADDRINUSE else f"cannot be bound ({error.strerror})"
        return f"port {port} (services.{service.name}.port) {reason}"
    return ""
