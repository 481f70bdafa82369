"""The survey of the machine: its GPUs, Docker daemon, models, cores and memory, each read once.

A survey changes nothing and decides nothing. `up`, `doctor`, `render` and `service install` each take one, and decide
from it. Whatever cannot be read leaves its error in the survey, so that the doctor can report every fault.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from embedfleet.config.model_name import model_folder
from embedfleet.config.settings import Service, Settings
from embedfleet.control.docker.client import Docker
from embedfleet.control.docker.container import Container
from embedfleet.control.docker.container_engine import ContainerEngine
from embedfleet.control.docker.fleet_identity import FleetIdentity
from embedfleet.control.docker.images import find_archive
from embedfleet.control.host.gpu import Gpu, placeholder_gpus, select
from embedfleet.control.host.nvml import NvidiaDriver, read_driver
from embedfleet.control.models.digest import digest_folder
from embedfleet.control.models.folder import ModelFolder, read_model_folder
from embedfleet.control.plan.container_model import container_model
from embedfleet.control.plan.machine import Machine
from embedfleet.control.plan.replica_placement import needs_docker, substrate_of
from embedfleet.control.plan.usable_gpus import families_of, family_for, usable_gpus
from embedfleet.control.tei.container_flags import target_of
from embedfleet.control.tei.model import TeiModel, read_for_tei
from embedfleet.errors import FleetError, UsageError
from embedfleet.system.cgroup import Memory, Quota, cores, cpu_quota, memories
from embedfleet.system.kernel_limits import most_open_files
from embedfleet.system.memory import MEMINFO, read_machine_memory


@dataclass(frozen=True, slots=True)
class SurveyedModel:
    """The model folder of a service.

    Attributes:
        folder: Content of the folder; empty if the folder does not exist.
        is_missing: Whether the folder does not exist.
        tei: Folder as TEI gets it, with TEI's verdict; None if no container gets it.
        digest: Digest of the folder's content; empty if no container gets it.
    """

    folder: ModelFolder
    is_missing: bool = False
    tei: TeiModel | None = None
    digest: str = ""


@dataclass(frozen=True, slots=True)
class Resources:
    """The cores, memory and files that the fleet's processes may use.

    Attributes:
        machine_cores: Cores of the machine.
        allowed_cores: Cores that this process may run on.
        cpu_quota: Quota of CPU time; None without one.
        memories: Memory of the machine, and of every control group with a limit around this process.
        open_files: Number of files that a process may have open.
    """

    machine_cores: int
    allowed_cores: int
    cpu_quota: Quota | None
    memories: Sequence[Memory]
    open_files: int


@dataclass(frozen=True, slots=True)
class Survey:
    """The facts that were read from the machine.

    Attributes:
        machine: Facts from which a plan is made.
        resources: Cores, memory and files.
        driver: NVIDIA driver; None if there is none, or the settings rule GPUs out.
        driver_fault: Error of the driver; None if it answers.
        gpu_fault: Error that says why the GPUs do not suit the settings, in which case `machine` has none; else None.
        docker: Docker daemon; None if the fleet has no containers, or the daemon cannot be reached.
        engine: Container engine of the daemon; None without a daemon.
        containers: Existing containers of this fleet.
        docker_fault: Error that says why the daemon cannot be reached; None if it can.
        own_image_fault: Error that says why the tar of our own image cannot be read; None if it can.
        models: Model folders on this machine, by service.
        model_faults: Errors that say why a model cannot be judged, by service.
    """

    machine: Machine
    resources: Resources
    driver: NvidiaDriver | None = None
    driver_fault: UsageError | None = None
    gpu_fault: UsageError | None = None
    docker: Docker | None = None
    engine: ContainerEngine | None = None
    containers: Sequence[Container] = ()
    docker_fault: FleetError | None = None
    own_image_fault: UsageError | None = None
    models: Mapping[str, SurveyedModel] = field(default_factory=dict)
    model_faults: Mapping[str, UsageError] = field(default_factory=dict)

    def require_gpus(self) -> None:
        """Raise the fault of the driver or the GPUs, if there is one.

        Raises:
            UsageError: The driver does not answer, or the GPUs do not suit the settings.
        """
        for fault in (self.driver_fault, self.gpu_fault):
            if fault is not None:
                raise fault

    def close(self) -> None:
        """Close the connection to the daemon."""
        if self.docker is not None:
            self.docker.close()


def take_survey(settings: Settings) -> Survey:
    """Read everything about the machine that the settings need; errors are kept in the survey."""
    survey = _require_images(settings, _ask_for_gpus(settings))
    if needs_docker(settings, survey.machine.gpus):
        survey = _ask_daemon(settings, survey)
    return read_models(settings, survey)


def survey_gpus(settings: Settings) -> Survey:
    """Read only the GPUs, cores and memory, not the daemon or the model folders.

    Raises:
        UsageError: The driver does not answer, or the GPUs do not suit the settings.
    """
    survey = _ask_for_gpus(settings)
    survey.require_gpus()
    return survey


def _ask_for_gpus(settings: Settings) -> Survey:
    """Read the cores, the memory, the limit of open files and the GPUs that the settings allow."""
    survey = Survey(Machine(cores()), _resources())
    try:
        driver = read_driver() if _may_use_gpus(settings) else None
    except UsageError as error:
        return replace(survey, driver_fault=error)
    survey = replace(survey, driver=driver)
    try:
        gpus = usable_gpus(settings, driver.gpus if driver else ())
    except UsageError as error:
        return replace(survey, gpu_fault=error)
    return replace(survey, machine=replace(survey.machine, gpus=gpus, driver_version=driver.version if driver else ""))


def _require_images(settings: Settings, survey: Survey) -> Survey:
    """Remove all GPUs from a survey, and keep the error, if TEI has no image for one that is used."""
    try:
        families_of(settings, survey.machine.gpus)
    except UsageError as error:
        return replace(survey, gpu_fault=error, machine=replace(survey.machine, gpus=()))
    return survey


def _may_use_gpus(settings: Settings) -> bool:
    """Whether any service may run on a GPU."""
    if settings.fleet.gpu.upper() == "CPU":
        return False
    return any(
        service.options.driver != "process" and not isinstance(service.options.replicas, tuple)
        for service in settings.services
    )


def _resources() -> Resources:
    """Read the limits of the machine and of the control groups around this process."""
    machine = read_machine_memory()
    limits = memories()
    if machine is not None:
        limits.append(Memory(machine.total_bytes, machine.available_bytes, str(MEMINFO)))
    allowed = len(os.sched_getaffinity(0))
    return Resources(os.cpu_count() or 1, allowed, cpu_quota(), limits, most_open_files())


def _ask_daemon(settings: Settings, survey: Survey) -> Survey:
    try:
        docker = Docker.connect(settings.fleet.docker_host, FleetIdentity.read(settings))
    except FleetError as error:
        return replace(survey, docker_fault=error)
    own_image_fault, has_image = None, False
    try:
        engine, containers = docker.engine(), docker.ours()
        has_image = _has_own_image(docker, settings)
    except FleetError as error:
        docker.close()
        return replace(survey, docker_fault=error)
    except UsageError as error:
        own_image_fault = error
    return replace(
        survey,
        machine=replace(survey.machine, has_own_image=has_image, can_reach_containers=not engine.is_rootless),
        docker=docker,
        engine=engine,
        containers=containers,
        own_image_fault=own_image_fault,
    )


def _has_own_image(docker: Docker, settings: Settings) -> bool:
    """Whether the image of this project's Dockerfile is in the daemon or in a tar.

    Raises:
        UsageError: The usual tar cannot be read.
    """
    name = settings.fleet.own_image
    if docker.image_id(name):
        return True
    folder = settings.root / settings.fleet.images_dir
    usual = folder / "embedfleet.tar"
    return usual.is_file() and find_archive(name, (usual,), folder)[0] is not None


def read_models(settings: Settings, survey: Survey) -> Survey:
    """Add every model folder to a survey; a GPU type that is set but absent is taken as present."""
    gpus = survey.machine.gpus or (placeholder_gpus(settings.fleet.gpu) if survey.gpu_fault is not None else ())
    models: dict[str, SurveyedModel] = {}
    faults: dict[str, UsageError] = {}
    for service in settings.services:
        try:
            found = _read_model(settings, service, gpus)
        except UsageError as error:
            faults[service.name] = error
        else:
            models |= {service.name: found} if found is not None else {}
    tei = {name: model.tei for name, model in models.items() if model.tei is not None}
    digests = {name: model.digest for name, model in models.items() if model.digest}
    return replace(
        survey,
        machine=replace(survey.machine, tei_models=tei, model_digests=digests),
        models=models,
        model_faults=faults,
    )


def _read_model(settings: Settings, service: Service, gpus: Sequence[Gpu]) -> SurveyedModel | None:
    """Read the model folder of a service; None if the service has none on this machine.

    Raises:
        UsageError: A container cannot get the model, or a GPU is absent or has no image.
    """
    substrate = substrate_of(service, gpus)
    if substrate != "docker":
        folder = model_folder(service.engine.model, settings.root)
        if folder is None or (substrate == "remote" and folder.is_dir()):
            return None
        return _read_folder(folder)
    folder = container_model(settings, service)
    if folder is None:
        return None
    found = _read_folder(folder)
    return found if found.is_missing else _judge_for_tei(settings, service, gpus, found)


def _read_folder(folder: Path) -> SurveyedModel:
    """Read a model folder, which need not exist."""
    is_missing = not folder.is_dir()
    return SurveyedModel(ModelFolder(folder) if is_missing else read_model_folder(folder), is_missing)


def _judge_for_tei(settings: Settings, service: Service, gpus: Sequence[Gpu], found: SurveyedModel) -> SurveyedModel:
    """Add TEI's verdict on a model folder, for the service's image, and the folder's digest."""
    selected = select(gpus, service.options.devices)
    families = [family_for(settings, service, gpu) for gpu in selected or (None,)]
    target = target_of(service, settings.fleet.tei_version, families)
    tei = read_for_tei(found.folder, target, own_engine=service.options.image == settings.fleet.own_image)
    return replace(found, tei=tei, digest=digest_folder(found.folder.path))
