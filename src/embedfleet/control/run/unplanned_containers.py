"""Removal of containers of earlier fleets that are not in the new plan."""

import logging
from collections.abc import Sequence

from embedfleet.config.settings import Settings
from embedfleet.control.balancers.gateway_folder import GatewayFolder
from embedfleet.control.docker.client import Docker
from embedfleet.control.docker.container import Container
from embedfleet.control.docker.leftovers import remove_container
from embedfleet.control.docker.replaced_containers import is_set_aside, remove_set_aside, set_aside
from embedfleet.control.plan.specs import ChildSpec
from embedfleet.control.plan.state_folders import gateway_folder
from embedfleet.errors import DockerError

log = logging.getLogger(__name__)

_GRACE_S = 30.0  # time in which a balancer's requests under way may finish


def set_balancers_aside(settings: Settings, docker: Docker, plan: Sequence[ChildSpec]) -> None:
    """Set aside the balancers that cannot stay, because they hold ports that the new ones need.

    These are balancers that are not in the plan, and gateways that cannot be reached.
    """
    services = {spec.name: spec.service for spec in plan if spec.kind == "balancer"}
    for container in docker.ours():
        if container.kind != "balancer" or is_set_aside(container):
            continue
        if container.name not in services:
            log.info("%s is no longer in the plan", container.name)
        elif _is_cut_off(settings, container, services[container.name]):
            log.info("%s cannot be reached, and is replaced", container.name)
        else:
            continue
        set_aside(docker, container, _GRACE_S)


def _is_cut_off(settings: Settings, container: Container, service: str) -> bool:
    """Whether a running gateway cannot be reached, because the folder that it shares with us was replaced."""
    shares = any(each.name == service and each.options.balancer == "gateway" for each in settings.services)
    return shares and container.status == "running" and not GatewayFolder(gateway_folder(settings, service)).has_socket


def drop_replaced(docker: Docker, plan: Sequence[ChildSpec]) -> None:
    """Remove the containers that the plan has replaced or does not have, once all planned ones serve."""
    try:
        remove_set_aside(docker)
        names = {spec.name for spec in plan}
        for container in docker.ours():
            if container.kind in {"replica", "balancer"} and container.name not in names:
                log.info("%s is no longer in the plan", container.name)
                remove_container(docker, container)
    except DockerError as error:  # the fleet serves nonetheless; the next `up` or `down` removes them
        log.warning("containers that are no longer in the plan cannot be removed: %s (%s)", error.message, error.hint)
