"""How many files the parts of a fleet may have open, and whether that is enough for the clients that were promised."""

from collections.abc import Sequence

from embedfleet.config.settings import Service
from embedfleet.control.docker.container_engine import ContainerEngine
from embedfleet.control.preflight.check_result import CheckResult
from embedfleet.system.kernel_limits import client_connections, files_for

_CONTAINER_FILES = 65_536  # any kernel grants them to a daemon that is root


def container_files(engine: ContainerEngine) -> int:
    """Of each container; 0 for as many as the daemon gives, which without root cannot give more than it has."""
    return 0 if engine.is_rootless else _CONTAINER_FILES


def check_open_files(services: Sequence[Service], files: int) -> CheckResult:
    """Whether the gateways of these services can let in as many clients as they are set to.

    Args:
        services: whose gateways are processes of this machine.
        files: that a process may have open at most.
    """
    found = [service for service in services if files_for(service.gateway.max_connections) > files]
    if not found:
        return CheckResult("files", "ok", f"a process may have {files} files open")
    most = max(service.gateway.max_connections for service in found)
    names = ", ".join(service.name for service in found)
    return CheckResult(
        "files",
        "warn",
        f"max_connections of {names} is {most}, but a process may have {files} files open, which lets in"
        f" {client_connections(files)} clients",
        f"allow {files_for(most)} (ulimit -Hn, LimitNOFILE=, limits.conf), or lower max_connections",
    )
