"""Checks of the Docker daemon: its version, the room on its disk, and names that other containers have taken."""

import shutil
from collections.abc import Iterator
from pathlib import Path

from embedfleet.control.docker.container_engine import major_minor
from embedfleet.control.drivers.container import foreign_container_error
from embedfleet.control.preflight.check_result import CheckResult, blocked, ok
from embedfleet.control.preflight.proposal import Proposal
from embedfleet.control.preflight.survey import Survey
from embedfleet.errors import FleetError

_OLDEST_DOCKER = (19, 3)  # the first with device requests
_ROOM_PER_BYTE = 2  # an image takes up to this many times the size of its tar while it is loaded


def check_daemon(survey: Survey) -> Iterator[CheckResult]:
    """Check that the daemon answers, and is new enough to give a container a GPU."""
    if survey.docker_fault is not None:
        fault = survey.docker_fault
        hint = f"{fault.hint}; or serve from the CPU (--gpu CPU)" if survey.machine.gpus else fault.hint
        yield blocked("docker.reachable", FleetError(fault.message, hint))
    if survey.engine is None:
        return
    engine = survey.engine
    yield ok("docker.reachable", f"{engine.name} {engine.version}")
    if engine.name == "docker" and major_minor(engine.version) < _OLDEST_DOCKER:
        old = FleetError(f"Docker {engine.version} cannot give a container a GPU", "use Docker 19.03 or newer")
        yield blocked("docker.version", old)


def check_disk(proposal: Proposal) -> Iterator[CheckResult]:
    """Check that the daemon's disk has room for the images that must be loaded."""
    engine = proposal.survey.engine
    if engine is None or not Path(engine.root).is_dir():  # the daemon may be on another machine
        return
    free, needed = shutil.disk_usage(engine.root).free, bytes_to_load(proposal)
    if free < needed:
        error = FleetError(
            f"{engine.root} has {free / 1e9:.1f} GB free, but the images to load may take {needed / 1e9:.1f} GB",
            "make room on the daemon's disk (docker system df)",
        )
        yield blocked("disk", error)
    else:
        yield ok("disk", f"{free / 1e9:.0f} GB free in {engine.root}")


def bytes_to_load(proposal: Proposal) -> int:
    """Return the disk space, in bytes, for the images that the daemon lacks and that have a usual tar."""
    tars = proposal.tars
    missing = [file for image, found in proposal.images.items() if not found for file in tars[image]]
    return sum(file.stat().st_size for file in missing if file.is_file()) * _ROOM_PER_BYTE


def check_container_names(proposal: Proposal) -> Iterator[CheckResult]:
    """Check that no container with a name of the plan belongs to another owner."""
    docker = proposal.survey.docker
    if docker is None:
        return
    for spec in proposal.containers:
        found = docker.find(spec.name)
        if found is not None and not found.is_ours:
            yield blocked("container.name", foreign_container_error(found))
