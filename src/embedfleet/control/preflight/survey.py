"""What there is to run a fleet on: GPUs, daemon, models, images; looked at once, before anything is started."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from embedfleet.config.settings import Service, Settings
from embedfleet.control.docker.client import Docker
from embedfleet.control.docker.container_engine import ContainerEngine
from embedfleet.control.docker.fleet_identity import FleetIdentity
from embedfleet.control.docker.images import Progress, ensure_image, find_archive
from embedfleet.control.host.gpu import select
from embedfleet.control.host.nvml import NvidiaDriver, read_driver
from embedfleet.control.models.digest import digest_folder
from embedfleet.control.plan.plan import (
    Machine,
    balancer_in_container,
    check_machine,
    docker_model,
    family_for,
    runs_as,
)
from embedfleet.control.plan.specs import ChildSpec, ContainerSpec
from embedfleet.control.tei.launch import target_of
from embedfleet.control.tei.model import TeiModel, read_for_tei
from embedfleet.errors import UsageError


@dataclass(frozen=True, slots=True)
class Ground:
    """See the module.

    Attributes:
        machine: what the plan is made from.
        docker: the daemon; None if the fleet has no containers.
        engine: what the daemon is.
    """

    machine: Machine
    docker: Docker | None = None
    engine: ContainerEngine | None = None


def look(settings: Settings, *, cores: int) -> Ground:
    """Look at what the settings need.

    Raises:
        UsageError: a GPU type that the machine contradicts, a model that is not whole, a driver that does not answer.
        DockerError: containers are wanted and the daemon cannot be reached.
    """
    driver = see_driver(settings)
    gpus = check_machine(settings, driver.gpus if driver else ())
    machine = Machine(cores, gpus, driver.version if driver else "")
    if not uses_docker(settings, machine):
        return Ground(machine)
    docker = Docker(settings.fleet.docker_host, FleetIdentity.of(settings, create=True))
    engine = docker.engine()
    machine = Machine(
        cores,
        gpus,
        machine.driver,
        own_image=has_own_image(docker, settings),
        reaches_containers=not engine.is_rootless,
        models=read_models(settings, machine),
        weights=read_weights(settings, machine),
    )
    return Ground(machine, docker, engine)


def needs_containers(settings: Settings) -> bool:
    """Whether any part of the fleet will be a container on this machine; no daemon is asked.

    Raises:
        UsageError: as `look` does for GPUs.
    """
    driver = see_driver(settings)
    return uses_docker(settings, Machine(1, check_machine(settings, driver.gpus if driver else ())))


def see_driver(settings: Settings) -> NvidiaDriver | None:
    """The NVIDIA driver, if the settings do not rule GPUs out."""
    return read_driver() if _asks_for_gpus(settings) else None


def uses_docker(settings: Settings, machine: Machine) -> bool:
    """Whether any part of the fleet is a container."""
    return any(
        runs_as(service, machine.gpus) == "docker" or balancer_in_container(service, machine)
        for service in settings.services
    )


def has_own_image(docker: Docker, settings: Settings) -> bool:
    """Whether the image of this project's Dockerfile is in the daemon or in a tar."""
    name = settings.fleet.own_image
    if docker.image_id(name):
        return True
    folder = settings.root / settings.fleet.images_dir
    usual = folder / "embedfleet.tar"
    return usual.is_file() and find_archive(name, (usual,), folder)[0] is not None


def read_models(settings: Settings, machine: Machine) -> dict[str, TeiModel]:
    """What TEI makes of every model folder that a container is to be given.

    Raises:
        UsageError: a folder is missing, or TEI refuses it; every reason is named.
    """
    found: dict[str, TeiModel] = {}
    problems: list[str] = []
    for service in settings.services:
        if runs_as(service, machine.gpus) != "docker":
            continue
        folder = docker_model(settings, service)
        if folder is None:
            continue
        if not folder.is_dir():
            problems.append(f"there is no folder {folder} (services.{service.name}.model)")
            continue
        found[service.name] = read_model(settings, service, machine, folder)
        problems += [f"{folder}/{refusal} ({refusal.hint})" for refusal in found[service.name].verdict.refusals]
    if problems:
        raise UsageError("; ".join(problems), "`embedfleet doctor` shows what TEI makes of each model")
    return found


def read_model(settings: Settings, service: Service, machine: Machine, folder: Path) -> TeiModel:
    """What TEI, by the image that a service has, makes of a model's folder; our own image takes it as it is."""
    gpus = select(machine.gpus, service.options.devices)
    families = [family_for(settings, service, gpu) for gpu in gpus or (None,)]
    target = target_of(service, settings.fleet.tei_version, families)
    return read_for_tei(folder, target, ours=service.options.image == settings.fleet.own_image)


def read_weights(settings: Settings, machine: Machine) -> dict[str, str]:
    """By service, the digest of the model folder that its containers are given."""
    services = [service for service in settings.services if runs_as(service, machine.gpus) == "docker"]
    folders = {service.name: docker_model(settings, service) for service in services}
    return {name: digest_folder(folder) for name, folder in folders.items() if folder is not None}


def provide_images(ground: Ground, plan: Iterable[ChildSpec], settings: Settings, progress: Progress) -> dict[str, str]:
    """Have every image of the plan in the daemon.

    Returns:
        Image reference → id.

    Raises:
        UsageError: one cannot be had.
    """
    wanted: dict[str, tuple[Path, ...]] = {}
    for spec in plan:
        if isinstance(spec, ContainerSpec):
            wanted[spec.image] = spec.tars
    folder = settings.root / settings.fleet.images_dir
    assert ground.docker is not None or not wanted
    return {
        reference: ensure_image(ground.docker, reference, tars, folder, pull=settings.fleet.pull, progress=progress)
        for reference, tars in wanted.items()
        if ground.docker is not None
    }


def _asks_for_gpus(settings: Settings) -> bool:
    """Whether any service may run on a GPU."""
    if settings.fleet.gpu.upper() == "CPU":
        return False
    return any(
        service.options.driver != "process" and not isinstance(service.options.replicas, tuple)
        for service in settings.services
    )
