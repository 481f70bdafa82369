"""The limit of open files of a fleet's gateways and containers, and a check that it suffices for max_connections."""

from collections.abc import Sequence

from embedfleet.config.settings import Service, Settings
from embedfleet.control.docker.container_engine import ContainerEngine
from embedfleet.control.plan.machine import Machine
from embedfleet.control.plan.replica_placement import is_balancer_in_container
from embedfleet.control.preflight.check_result import CheckResult, ok, warning
from embedfleet.system.kernel_limits import client_connections, files_for

_CONTAINER_FILES = 65_536  # every kernel grants this to a daemon that is root


def container_files(engine: ContainerEngine) -> int:
    """Return the limit of open files for a container; 0 for the daemon's default, if the daemon runs without root."""
    return 0 if engine.is_rootless else _CONTAINER_FILES


def gateway_processes(settings: Settings, machine: Machine) -> list[Service]:
    """Return the services whose gateway is a process on this machine; a container has a limit of its own."""
    gateways = [service for service in settings.services if service.options.balancer == "gateway"]
    return [
        service
        for service in gateways
        if not is_balancer_in_container(service, machine.gpus, has_own_image=machine.has_own_image)
    ]


def check_open_files(services: Sequence[Service], files: int) -> CheckResult:
    """Check that gateways may open as many files as their max_connections need.

    Args:
        services: Services whose gateways are processes on this machine.
        files: Number of files that a process may have open.
    """
    found = [service for service in services if files_for(service.gateway.max_connections) > files]
    if not found:
        return ok("files", f"a process may have {files} files open")
    most = max(service.gateway.max_connections for service in found)
    names = ", ".join(service.name for service in found)
    return warning(
        "files",
        f"max_connections of {names} is {most}, but a process may have {files} files open, which lets in"
        f" {client_connections(files)} clients",
        f"allow {files_for(most)} (ulimit -Hn, LimitNOFILE=, limits.conf), or lower max_connections",
    )
