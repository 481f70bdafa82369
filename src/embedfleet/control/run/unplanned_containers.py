"""Containers of earlier fleets that a new plan replaces or has no place for."""

import logging
from collections.abc import Sequence

from embedfleet.config.settings import Settings
from embedfleet.control.balancers.gateway_folder import GatewayFolder
from embedfleet.control.docker.client import Docker
from embedfleet.control.docker.container import Container
from embedfleet.control.docker.leftovers import remove_container
from embedfleet.control.docker.set_aside import is_set_aside, remove_set_aside, set_aside
from embedfleet.control.plan.specs import ChildSpec
from embedfleet.control.plan.state_folders import gateway_folder
from embedfleet.errors import DockerError

log = logging.getLogger(__name__)

_GRACE_S = 30.0  # for the requests that a balancer has under way


def set_balancers_aside(settings: Settings, docker: Docker, plan: Sequence[ChildSpec]) -> None:
    """Set aside the balancers that cannot stay: they hold ports that the new ones need.

    These are balancers that the plan does not have, and gateways that cannot be told anything.
    """
    services = {spec.name: spec.service for spec in plan if spec.kind == "balancer"}
    for container in docker.ours():
        if container.kind != "balancer" or is_set_aside(container):
            continue
        if container.name not in services:
            log.info("%s is no longer wanted", container.name)
        elif _is_deaf(settings, container, services[container.name]):
            log.info("%s cannot be told anything, and is made anew", container.name)
        else:
            continue
        set_aside(docker, container, _GRACE_S)


def _is_deaf(settings: Settings, container: Container, service: str) -> bool:
    """Whether a gateway runs and cannot be told anything, because the folder that it shares with us was replaced."""
    shares = any(each.name == service and each.options.balancer == "gateway" for each in settings.services)
    return shares and container.status == "running" and not GatewayFolder(gateway_folder(settings, service)).has_socket


def drop_replaced(docker: Docker, plan: Sequence[ChildSpec]) -> None:
    """Remove the containers that the plan has replaced or has no place for; all of the plan's own serve by now."""
    try:
        remove_set_aside(docker)
        names = {spec.name for spec in plan}
        for container in docker.ours():
            if container.kind in {"replica", "balancer"} and container.name not in names:
                log.info("%s is no longer wanted", container.name)
                remove_container(docker, container)
    except DockerError as error:  # the fleet serves all the same; the next `up` or `down` removes them
        log.warning("what is no longer wanted cannot be removed: %s (%s)", error.message, error.hint)
