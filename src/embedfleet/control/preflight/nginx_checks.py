"""Checks that nginx accepts the configuration that it will get."""

import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

from embedfleet.config.settings import Service, Settings
from embedfleet.control.balancers.nginx import ContainerNginx, LocalNginx
from embedfleet.control.balancers.service_balancer import listen_address, site_maker
from embedfleet.control.docker.client import ExecResult
from embedfleet.control.host.programs import find_nginx
from embedfleet.control.plan.nginx_conf import file_name, render_main, render_site
from embedfleet.control.plan.replica_placement import is_balancer_in_container
from embedfleet.control.plan.specs import Mount
from embedfleet.control.plan.state_folders import nginx_folder
from embedfleet.control.preflight.check_result import CheckResult, blocked, ok, warning
from embedfleet.control.preflight.gpu_checks import trial_result
from embedfleet.control.preflight.proposal import Proposal
from embedfleet.errors import FleetError, UsageError

_MAIN = "nginx-main.txt"


def check_nginx(proposal: Proposal) -> Iterator[CheckResult]:
    """Check the configuration of each service whose balancer is nginx."""
    for service in proposal.settings.services:
        if service.options.balancer == "nginx":
            yield from _check_body_limit(proposal.settings, service)
            yield _try_configuration(proposal, service)


def _check_body_limit(settings: Settings, service: Service) -> Iterator[CheckResult]:
    """Check that the present configuration, which users may have edited, has TEI's limit of body size."""
    file = nginx_folder(settings, service.name) / file_name(service.name)
    if not file.is_file():
        return
    found = re.search(r"client_max_body_size\s+(\w+)", file.read_text("utf-8", "replace"))
    limit = service.options.payload_limit_bytes
    if found is None or found[1] != str(limit):
        stated = found[1] if found else "1 MB, its default"
        yield warning(
            "nginx.limit", f"{file} accepts bodies of {stated}, TEI of {limit}", "`embedfleet up` rewrites it"
        )
    else:
        yield ok("nginx.limit", f"nginx and TEI both accept bodies of {limit} bytes")


def _try_configuration(proposal: Proposal, service: Service) -> CheckResult:
    """Let nginx test the configuration that the service will get."""
    machine = proposal.survey.machine
    in_container = is_balancer_in_container(service, machine.gpus, has_own_image=machine.has_own_image)
    with tempfile.TemporaryDirectory(prefix="embedfleet-doctor-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # nginx in a container runs as another user
        inside = ContainerNginx.inside if in_container else name
        writable = "/tmp" if in_container else name  # noqa: S108 - inside the container
        listen = "80" if in_container else listen_address(service)
        site = site_maker(service, listen, "/dev/null")(["127.0.0.1:80"], [])
        (folder / file_name(service.name)).write_text(render_site(site))
        (folder / _MAIN).write_text(render_main(writable, f"{inside}/{file_name(service.name)}", test=True))
        try:
            if in_container:
                result = _try_in_container(proposal, folder)
            else:
                result = LocalNginx(find_nginx(), folder).check(f"{name}/{_MAIN}")
        except (UsageError, FleetError) as error:
            return blocked("nginx.test", error)
    if result is None:
        return ok("nginx.test", f"not tested: {proposal.settings.fleet.nginx_image} is not in the daemon yet")
    return trial_result("nginx.test", result, f"nginx accepts {file_name(service.name)}", "use a newer nginx")


def _try_in_container(proposal: Proposal, folder: Path) -> ExecResult | None:
    """Run ``nginx -t`` in a temporary container; None if the daemon lacks the image."""
    docker, image = proposal.survey.docker, proposal.settings.fleet.nginx_image
    if docker is None or not proposal.images.get(image):
        return None
    command = ["-t", "-q", "-c", f"{ContainerNginx.inside}/{_MAIN}"]
    return docker.try_out(image, command, entrypoint="nginx", mounts=[Mount(str(folder), ContainerNginx.inside)])
