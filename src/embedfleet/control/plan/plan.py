"""The plan of a fleet: the specs of all children, made from the settings and the facts about the machine.

First `replica_placement` gives each replica its device, then `containers` and `processes` make the specs.
"""

from collections.abc import Sequence
from pathlib import Path

from embedfleet.config.settings import Settings
from embedfleet.control.plan.containers import gateway_container, nginx_container, replica_containers
from embedfleet.control.plan.machine import Machine
from embedfleet.control.plan.processes import engine_processes, gateway_process, nginx_process
from embedfleet.control.plan.replica_placement import Placement, place
from embedfleet.control.plan.specs import ChildSpec, ContainerSpec, RemoteSpec
from embedfleet.errors import UsageError


def make_plan(settings: Settings, machine: Machine, *, sockets: Path) -> list[ChildSpec]:
    """Return every child of the fleet, in the order in which they are started.

    Args:
        settings: Settings in force.
        machine: Facts about the machine.
        sockets: Folder for the admin sockets of gateways that are processes.

    Raises:
        UsageError: The settings do not suit the machine, or two children would have the same name.
    """
    children = [
        child for placement in place(settings, machine) for child in _children(settings, machine, placement, sockets)
    ]
    owners = {child.name: child.service for child in reversed(children)}
    for child in children:
        if owners[child.name] != child.service:
            raise UsageError(
                f"services.{owners[child.name]} and services.{child.service} both make {child.name}",
                f"set another services.{child.service}.upstream, or rename the service",
            )
    return children


def _children(settings: Settings, machine: Machine, placement: Placement, sockets: Path) -> list[ChildSpec]:
    """Return the replicas and the balancer of one service, in the order in which they are started."""
    replicas = _replicas(settings, machine, placement)
    balancer = _balancer(settings, placement, sockets)
    # nginx in a container finds the replicas by name, and does not start if the network does not know a name yet.
    # A balancer that is a process needs none of that, so it starts first.
    return [*replicas, balancer] if isinstance(balancer, ContainerSpec) else [balancer, *replicas]


def _replicas(settings: Settings, machine: Machine, placement: Placement) -> Sequence[ChildSpec]:
    match placement.substrate:
        case "process":
            return engine_processes(settings, placement)
        case "docker":
            return replica_containers(settings, machine, placement)
        case "remote":
            return _remote_servers(placement)


def _remote_servers(placement: Placement) -> list[RemoteSpec]:
    service, urls = placement.service, placement.service.options.replicas
    assert isinstance(urls, tuple)
    return [
        RemoteSpec(f"{service.upstream}-{n}", service.name, "replica", url.rstrip("/")) for n, url in enumerate(urls)
    ]


def _balancer(settings: Settings, placement: Placement, sockets: Path) -> ChildSpec:
    service = placement.service
    is_nginx = service.options.balancer == "nginx"
    if not placement.is_balancer_in_container:
        return nginx_process(settings, service) if is_nginx else gateway_process(settings, service, sockets)
    if placement.substrate == "process":
        raise UsageError(
            f"services.{service.name}.balancer_in is container, but its replicas are processes on this machine",
            "omit balancer_in, or set driver to docker",
        )
    return nginx_container(settings, service) if is_nginx else gateway_container(settings, service)
