"""The doctor, which runs every check of a fleet before it is started, in the order in which they are shown."""

from collections.abc import Iterator
from collections.abc import Set as AbstractSet

from embedfleet.control.preflight.check_result import CheckResult, blocked, ok
from embedfleet.control.preflight.cores_and_memory import check_cores, check_memory, needs_of
from embedfleet.control.preflight.docker_checks import check_container_names, check_daemon, check_disk
from embedfleet.control.preflight.gpu_checks import check_device_requests, check_gpu_memory, check_gpus
from embedfleet.control.preflight.image_checks import check_images
from embedfleet.control.preflight.model_checks import check_models
from embedfleet.control.preflight.nginx_checks import check_nginx
from embedfleet.control.preflight.open_files import check_open_files, gateway_processes
from embedfleet.control.preflight.ports import bound_by_daemon, check_ports, held_ports
from embedfleet.control.preflight.proposal import Proposal
from embedfleet.errors import UsageError


def examine(proposal: Proposal, own_ports: AbstractSet[int] = frozenset()) -> list[CheckResult]:
    """Check everything that a fleet needs; nothing is changed, and containers for trials are removed.

    Args:
        proposal: Fleet to check.
        own_ports: Ports on which a fleet with these settings listens now.
    """
    survey = proposal.survey
    checks = [
        check_cores(survey.resources),
        *check_gpus(proposal),
        *check_daemon(survey),
        *check_disk(proposal),
        *check_models(proposal.settings, survey),
    ]
    if proposal.fault is None:
        checks.append(ok("plan", f"up starts {', '.join(spec.name for spec in proposal.plan)}"))
    elif not any(check.state == "blocked" for check in checks):  # a blocked check has given the reason already
        checks.append(blocked("plan", proposal.fault))
    return [
        *checks,
        *check_container_names(proposal),
        *check_images(proposal),
        *check_device_requests(proposal),
        *check_gpu_memory(proposal),
        check_memory(needs_of(proposal.settings, survey), survey.resources.memories),
        *_check_ports(proposal, own_ports),
        check_open_files(gateway_processes(proposal.settings, survey.machine), survey.resources.open_files),
        *check_nginx(proposal),
    ]


def _check_ports(proposal: Proposal, own_ports: AbstractSet[int]) -> Iterator[CheckResult]:
    services, survey = proposal.settings.services, proposal.survey
    try:
        check_ports(
            services,
            held=held_ports(survey.containers) | own_ports,
            by_daemon=bound_by_daemon(survey.engine, proposal.plan),
        )
    except UsageError as error:
        yield blocked("ports", error)
    else:
        yield ok("ports", ", ".join(str(service.options.port) for service in services))
