"""Construction of a service's balancer from the service's settings and its part of the plan."""

from collections.abc import Callable, Sequence
from urllib.parse import urlsplit

from embedfleet.config.settings import Service, Settings
from embedfleet.control.balancers.base import Balancer
from embedfleet.control.balancers.contained_gateway import ContainedGateway
from embedfleet.control.balancers.gateway import GatewayBalancer
from embedfleet.control.balancers.gateway_folder import GatewayFolder
from embedfleet.control.balancers.nginx import ContainerNginx, LocalNginx, Nginx
from embedfleet.control.balancers.nginx_steering import MakeSite, NginxSteering
from embedfleet.control.balancers.probed import ProbedBalancer
from embedfleet.control.docker.client import Docker
from embedfleet.control.host.programs import find_nginx
from embedfleet.control.plan.nginx_conf import Site
from embedfleet.control.plan.specs import ChildSpec, ContainerSpec, ProcessSpec, RemoteSpec, peer_url
from embedfleet.control.plan.state_folders import gateway_folder, nginx_folder


def make_balancer(
    settings: Settings, service: Service, docker: Docker | None, plan: Sequence[ChildSpec], changed: Callable[[], None]
) -> Balancer:
    """Make the balancer of a service.

    Args:
        settings: Settings in force.
        service: Settings of the service.
        docker: Docker daemon; None if the fleet has no containers.
        plan: Children of the fleet.
        changed: Function that a balancer with control's probes calls after a change; a gateway does not call it.

    Raises:
        UsageError: The service needs nginx on this machine, and nginx is not installed.
    """
    (spec,) = (child for child in plan if child.service == service.name and child.kind == "balancer")
    replicas = [child for child in plan if child.service == service.name and child.kind == "replica"]
    if service.options.balancer == "nginx":
        return ProbedBalancer(
            interval_s=service.gateway.probe_interval_s,
            timeout_s=service.gateway.probe_timeout_s,
            steering=_steering(settings, service, docker, spec, replicas),
            changed=changed,
        )
    if isinstance(spec, ProcessSpec):
        return GatewayBalancer(spec.admin)
    folder = GatewayFolder(gateway_folder(settings, service.name))
    return ContainedGateway.open(folder, {child.name: peer_url(child) for child in replicas})


def _steering(
    settings: Settings, service: Service, docker: Docker | None, spec: ChildSpec, replicas: Sequence[ChildSpec]
) -> NginxSteering:
    folder = nginx_folder(settings, service.name)
    folder.mkdir(parents=True, exist_ok=True)
    nginx: Nginx
    if isinstance(spec, ContainerSpec):
        assert docker is not None
        nginx, log, listen = ContainerNginx(docker, spec), "/var/log/nginx/access.log", str(spec.port)
    else:
        logs = settings.state_dir / "logs"  # the supervisor trims the files there
        logs.mkdir(parents=True, exist_ok=True)
        nginx, log = LocalNginx(find_nginx(), folder), f"{logs}/{service.name}-access.log"
        listen = listen_address(service)
    inside = isinstance(spec, ContainerSpec)
    addresses = {child.name: peer_address(child, inside=inside) for child in replicas}
    return NginxSteering(
        folder,
        service.name,
        make_site=site_maker(service, listen, log),
        nginx=nginx,
        addresses={name: address for name, address in addresses.items() if address},
        url=_url(service),
    )


def _url(service: Service) -> str:
    """Return the URL by which this machine reaches a service."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(service.options.host, service.options.host)
    return f"http://[{host}]:{service.options.port}" if ":" in host else f"http://{host}:{service.options.port}"


def site_maker(service: Service, listen: str, access_log: str) -> MakeSite:
    """Make a function that makes a service's nginx site from the addresses of its replicas."""

    def make(serving: Sequence[str], resting: Sequence[tuple[str, str]]) -> Site:
        return Site(
            service=service.name,
            upstream=service.upstream,
            listen=listen,
            servers=serving,
            resting=resting,
            payload_limit_bytes=service.options.payload_limit_bytes,
            response_timeout_s=service.gateway.response_timeout_s,
            access_log=access_log,
        )

    return make


def listen_address(service: Service) -> str:
    """Return the ``host:port`` where a service listens, as nginx writes it."""
    host = service.options.host
    return f"[{host}]:{service.options.port}" if ":" in host else f"{host}:{service.options.port}"


def peer_address(replica: ChildSpec, *, inside: bool) -> str:
    """Return a replica's ``host:port`` for nginx; empty if it is known only once the replica runs.

    Args:
        replica: Spec of the replica.
        inside: Whether nginx is on the containers' network, where it finds containers by name.
    """
    if isinstance(replica, ContainerSpec):
        return replica.address if inside else ""
    return urlsplit(replica.url).netloc if isinstance(replica, RemoteSpec) else ""
