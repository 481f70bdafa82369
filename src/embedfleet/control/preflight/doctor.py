"""What keeps a fleet from starting, or will trouble it: found before anything is started, with what to do about it."""

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from pathlib import Path

from embedfleet.config.model_name import model_folder
from embedfleet.config.settings import Service, Settings
from embedfleet.control.balancers.nginx import ContainerNginx, LocalNginx
from embedfleet.control.balancers.service_balancer import listen_address, site_maker
from embedfleet.control.docker.client import Docker, ExecResult
from embedfleet.control.docker.container import Container
from embedfleet.control.docker.container_engine import Engine, major_minor
from embedfleet.control.docker.images import differing_tar, find_archive
from embedfleet.control.docker.owner import Owner
from embedfleet.control.drivers.container import foreign
from embedfleet.control.host.gpu import Gpu, family_of, select, wanted_gpus
from embedfleet.control.host.programs import find_nginx
from embedfleet.control.models.folder import read_model_folder
from embedfleet.control.plan.nginx_conf import file_name, render_main, render_site
from embedfleet.control.plan.plan import (
    Machine,
    balancer_in_container,
    check_machine,
    docker_model,
    make_plan,
    nginx_folder,
    runs_as,
)
from embedfleet.control.plan.specs import ChildSpec, ContainerSpec, Mount
from embedfleet.control.preflight.check import Check
from embedfleet.control.preflight.model_check import check_model
from embedfleet.control.preflight.open_files import check_open_files
from embedfleet.control.preflight.ports import check_ports, held_ports
from embedfleet.control.preflight.room import check_cores, check_memory, needs_of, see_memories
from embedfleet.control.preflight.survey import has_own_image, see_driver
from embedfleet.control.tei.launch import parse_version
from embedfleet.control.tei.weights import weights_bytes
from embedfleet.errors import FleetError, UsageError
from embedfleet.system.cgroup import cores, cpu_quota
from embedfleet.system.kernel_limits import most_open_files

_OLDEST_DRIVER = (525, 60)  # for CUDA 12, which TEI's images are built on
_MISREAD_DRIVER = 600  # by the entrypoint of TEI up to 1.9.3 (issue 870)
_OLDEST_DOCKER = (19, 3)  # the first with device requests
_BESIDES_WEIGHTS = 1 << 30  # of GPU memory, for a replica's context and its warm-up batch: a low guess
_ROOM = 2  # an image takes up to so many times its tar while it is loaded


@dataclass(slots=True)
class _Examination:
    """What is known so far: a check that cannot be made without an earlier one's finding is left out."""

    settings: Settings
    checks: list[Check] = field(default_factory=list)
    gpus: tuple[Gpu, ...] = ()
    wanted: tuple[Gpu, ...] = ()  # of the type that is asked for, if this machine has none such
    driver: str = ""
    docker: Docker | None = None
    engine: Engine | None = None
    containers: list[Container] = field(default_factory=list)
    plan: list[ChildSpec] = field(default_factory=list)

    @property
    def machine(self) -> Machine:
        return Machine(cores(), self.gpus, self.driver)

    def ok(self, name: str, message: str) -> None:
        self.checks.append(Check(name, "ok", message))

    def warn(self, name: str, message: str, hint: str) -> None:
        self.checks.append(Check(name, "warn", message, hint))

    def blocked(self, name: str, error: UsageError | FleetError) -> None:
        self.checks.append(Check(name, "blocked", error.message, error.hint))


def examine(settings: Settings, own_ports: AbstractSet[int] = frozenset()) -> list[Check]:
    """Look at everything that the settings need; nothing is changed, and what is tried out is removed again.

    Args:
        settings: in force.
        own_ports: those that a fleet of these settings listens on now.
    """
    exam = _Examination(settings)
    exam.checks.append(check_cores(os.cpu_count() or 1, len(os.sched_getaffinity(0)), cpu_quota()))
    _see_gpus(exam)
    _see_docker(exam)
    _see_models(exam)
    _make_plan(exam)
    _see_names(exam)
    _see_images(exam)
    _see_device_requests(exam)
    _see_gpu_memory(exam)
    exam.checks.append(check_memory(needs_of(settings, exam.gpus), see_memories()))
    _see_ports(exam, own_ports)
    _see_open_files(exam)
    _see_nginx(exam)
    if exam.docker is not None:
        exam.docker.close()
    return exam.checks


def _see_gpus(exam: _Examination) -> None:
    try:
        driver = see_driver(exam.settings)
    except UsageError as error:
        exam.blocked("driver.present", error)
        return
    if driver is not None:
        exam.driver = driver.version
        exam.ok("driver.present", f"NVIDIA driver {driver.version} with {len(driver.gpus)} GPUs")
        _see_driver_version(exam)
    try:
        exam.gpus = check_machine(exam.settings, driver.gpus if driver else ())
        used = _used_gpus(exam)
        names = ", ".join(f"{gpu.index} {gpu.name} ({family_of(gpu).name})" for gpu in used)
    except UsageError as error:
        exam.gpus = ()
        exam.wanted = wanted_gpus(exam.settings.fleet.gpu)
        exam.blocked("gpu.type", error)
        return
    exam.ok("gpu.type", names or "no GPU is used")
    for gpu in used:
        if gpu.processes:
            pids = ", ".join(map(str, gpu.processes))
            exam.warn("gpu.busy", f"GPU {gpu.index} ({gpu.name}) is used by processes {pids}", "nvidia-smi shows them")


def _see_driver_version(exam: _Examination) -> None:
    version = major_minor(exam.driver)
    if version < _OLDEST_DRIVER:
        exam.warn(
            "driver.version", f"driver {exam.driver} is older than 525.60", "TEI's images need CUDA 12: update it"
        )
    elif version[0] >= _MISREAD_DRIVER and parse_version(exam.settings.fleet.tei_version) <= (1, 9, 3):
        exam.warn(
            "driver.version",
            f"TEI {exam.settings.fleet.tei_version}'s entrypoint misreads driver {exam.driver}: it is stepped over",
            "take a newer tei_version once there is one",
        )


def _used_gpus(exam: _Examination) -> list[Gpu]:
    """GPUs that some replica is placed on, each once."""
    used: dict[str, Gpu] = {}
    for service in exam.settings.services:
        if runs_as(service, exam.gpus) == "docker" and exam.gpus:
            used |= {gpu.uuid: gpu for gpu in select(exam.gpus, service.options.devices)}
    return list(used.values())


def _see_docker(exam: _Examination) -> None:
    services = exam.settings.services
    if not any(runs_as(s, exam.gpus) == "docker" or balancer_in_container(s, exam.machine) for s in services):
        return
    try:
        exam.docker = Docker(exam.settings.fleet.docker_host, Owner.of(exam.settings))
        exam.engine = exam.docker.engine()
        exam.containers = exam.docker.ours()
    except FleetError as error:
        exam.docker = None
        hint = f"{error.hint}; or serve from the CPU (--gpu CPU)" if exam.gpus else error.hint
        exam.blocked("docker.reachable", FleetError(error.message, hint))
        return
    exam.ok("docker.reachable", f"{exam.engine.name} {exam.engine.version}")
    if exam.engine.name == "docker" and major_minor(exam.engine.version) < _OLDEST_DOCKER:
        old = FleetError(f"Docker {exam.engine.version} cannot give a container a GPU", "Docker 19.03 or newer can")
        exam.blocked("docker.version", old)
    _see_disk(exam, exam.engine)


def _see_disk(exam: _Examination, engine: Engine) -> None:
    root = Path(engine.root)
    if not root.is_dir():
        return
    free = shutil.disk_usage(root).free
    needed = sum(file.stat().st_size for file in _tars_to_load(exam)) * _ROOM
    if free < needed:
        error = FleetError(
            f"{root} has {free / 1e9:.1f} GB free, the images to be loaded may take {needed / 1e9:.1f} GB",
            "make room on the daemon's disk (docker system df)",
        )
        exam.blocked("disk", error)
    else:
        exam.ok("disk", f"{free / 1e9:.0f} GB free in {root}")


def _tars_to_load(exam: _Examination) -> Iterator[Path]:
    try:
        plan = make_plan(exam.settings, exam.machine, sockets=Path("/nowhere"))
    except UsageError:
        return
    wanted = {spec.image: spec.tars for spec in plan if isinstance(spec, ContainerSpec)}
    for image, tars in wanted.items():
        if exam.docker is not None and not exam.docker.image_id(image):
            yield from (file for file in tars if file.is_file())


def _see_models(exam: _Examination) -> None:
    """What becomes of each model here; where a type of GPU is asked for that is not there, on that."""
    machine = replace(exam.machine, gpus=exam.gpus or exam.wanted)
    for service in exam.settings.services:
        name = f"model.{service.name}"
        runs = runs_as(service, machine.gpus)
        try:
            folder = (
                docker_model(exam.settings, service)
                if runs == "docker"
                else model_folder(service.engine.model, exam.settings.root)
            )
            if folder is not None and (runs != "remote" or not folder.is_dir()):
                exam.checks.append(check_model(exam.settings, service, machine, folder))
        except UsageError as error:
            exam.blocked(name, error)


def _make_plan(exam: _Examination) -> None:
    machine = exam.machine
    try:
        if exam.docker is not None:
            machine = replace(machine, own_image=has_own_image(exam.docker, exam.settings))
        exam.plan = make_plan(exam.settings, machine, sockets=Path("/nowhere"))
    except (UsageError, FleetError) as error:
        if not any(check.state == "blocked" for check in exam.checks):  # else it has been told already
            exam.blocked("plan", error)


def _see_names(exam: _Examination) -> None:
    if exam.docker is None:
        return
    for spec in _containers(exam):
        found = exam.docker.find(spec.name)
        if found is not None and not found.ours:
            exam.blocked("container.name", foreign(found))


def _see_images(exam: _Examination) -> None:
    if exam.docker is None:
        return
    folder = exam.settings.root / exam.settings.fleet.images_dir
    for image, spec in {spec.image: spec for spec in _containers(exam)}.items():
        if found := exam.docker.image_id(image):
            exam.ok("image", f"{image} is in the daemon")
            _see_tar(exam, found, spec)
            continue
        try:
            archive, seen = find_archive(image, spec.tars, folder)
        except UsageError as error:
            exam.blocked("image", error)
            continue
        if archive is not None:
            exam.ok("image", f"{image} will be loaded from {archive.file}")
        elif exam.settings.fleet.pull:
            exam.warn("image", f"{image} will be pulled from the network", "put its tar into images_dir to do without")
        else:
            detail = "; ".join(seen) or "neither the daemon nor a tar has it"
            name = spec.tars[0] if spec.tars else folder / "image.tar"
            hint = f"where there is a network: docker pull {image}; docker save -o {name} {image}"
            exam.blocked("image", UsageError(f"there is no image {image}: {detail}", hint))


def _see_tar(exam: _Examination, found: str, spec: ContainerSpec) -> None:
    """The daemon's image counts, whatever lies in a tar: nobody can tell by the two which is the one that is meant."""
    if exam.engine is not None and exam.engine.has_containerd_store:  # its ids are not those of a tar
        return
    if differs := differing_tar(found, spec.image, spec.tars):
        exam.warn("image", f"{differs}: the daemon's is used", f"docker load -i {spec.tars[0]}, or remove that tar")


def _see_device_requests(exam: _Examination) -> None:
    """Start a throw-away container as a replica would be started: what the toolkit refuses, it refuses now."""
    if exam.docker is None or exam.engine is None:
        return
    tried: set[str] = set()
    for spec in _containers(exam):
        if not spec.gpu or spec.gpu in tried:
            continue
        tried.add(spec.gpu)
        if not exam.docker.image_id(spec.image):
            exam.ok("docker.gpu", f"{spec.gpu} is not tried out: {spec.image} is not in the daemon yet")
            continue
        try:
            request = exam.engine.device_request(exam.settings.fleet.device_request)
            result = exam.docker.try_out(spec.image, ["-c", ":"], entrypoint="/bin/sh", gpu=spec.gpu, request=request)
        except FleetError as error:
            exam.blocked("docker.gpu", error)
            continue
        _report_run(exam, "docker.gpu", result, f"a container can be given {spec.gpu}")


def _report_run(exam: _Examination, name: str, result: ExecResult, good: str, hint: str = "see the line above") -> None:
    if result.code == 0:
        exam.ok(name, good)
    else:
        exam.blocked(name, FleetError(f"it ended with code {result.code}: {result.output.strip()[-400:]}", hint))


def _see_gpu_memory(exam: _Examination) -> None:
    """Weights of all replicas of a GPU against what is free there, where none of ours runs yet."""
    if exam.containers:
        return
    for gpu in _used_gpus(exam):
        needed = sum(_needs(spec) for spec in _containers(exam) if spec.gpu == gpu.uuid)
        if gpu.memory_bytes and needed > gpu.free_bytes:
            error = FleetError(
                f"GPU {gpu.index} ({gpu.name}) has {gpu.free_bytes / 1e9:.1f} GB free, its replicas need"
                f" {needed / 1e9:.1f} GB or more",
                "end what uses it (nvidia-smi), or give the services different `devices`",
            )
            exam.blocked("gpu.memory", error)
        elif gpu.memory_bytes:
            exam.ok("gpu.memory", f"GPU {gpu.index}: {gpu.free_bytes / 1e9:.1f} GB free, {needed / 1e9:.1f} GB needed")


def _needs(spec: ContainerSpec) -> int:
    """At least: TEI holds weights in float16, which a file of float32 has twice."""
    folder = Path(spec.model)
    return weights_bytes(read_model_folder(folder)) // 2 + _BESIDES_WEIGHTS if folder.is_dir() else 0


def _see_ports(exam: _Examination, own_ports: AbstractSet[int]) -> None:
    by_daemon = {spec.service for spec in _containers(exam) if spec.kind == "balancer"}
    if exam.engine is not None and exam.engine.is_rootless:  # that daemon may bind no more than we may
        by_daemon = set()
    try:
        check_ports(exam.settings.services, held=held_ports(exam.containers) | own_ports, by_daemon=by_daemon)
    except UsageError as error:
        exam.blocked("ports", error)
    else:
        exam.ok("ports", ", ".join(str(service.options.port) for service in exam.settings.services))


def _see_open_files(exam: _Examination) -> None:
    """Containers have a limit of their own."""
    gateways = [service for service in exam.settings.services if service.options.balancer == "gateway"]
    processes = [service for service in gateways if not balancer_in_container(service, exam.machine)]
    exam.checks.append(check_open_files(processes, most_open_files()))


def _see_nginx(exam: _Examination) -> None:
    for service in exam.settings.services:
        if service.options.balancer == "nginx":
            _see_limit(exam, service)
            _test_nginx(exam, service)


def _see_limit(exam: _Examination, service: Service) -> None:
    """The configuration that is there, perhaps edited by hand, must let through what TEI takes."""
    file = nginx_folder(exam.settings, service.name) / file_name(service.name)
    if not file.is_file():
        return
    found = re.search(r"client_max_body_size\s+(\w+)", file.read_text("utf-8", "replace"))
    limit = service.options.payload_limit_bytes
    if found is None or found[1] != str(limit):
        said = found[1] if found else "1 MB, its default"
        exam.warn("nginx.limit", f"{file} lets bodies of {said} through, TEI {limit}", "up writes it anew")
    else:
        exam.ok("nginx.limit", f"nginx and TEI both take bodies of {limit} bytes")


def _test_nginx(exam: _Examination, service: Service) -> None:
    in_container = balancer_in_container(service, exam.machine)
    listen = "80" if in_container else listen_address(service)
    with tempfile.TemporaryDirectory(prefix="embedfleet-doctor-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # the daemon's nginx is another user
        inside = ContainerNginx.inside if in_container else name
        writable = "/tmp" if in_container else name  # noqa: S108 - of the container
        site = site_maker(service, listen, "/dev/null")(["127.0.0.1:80"], [])
        (folder / file_name(service.name)).write_text(render_site(site))
        main = f"{inside}/nginx-main.txt"
        (folder / "nginx-main.txt").write_text(render_main(writable, f"{inside}/{file_name(service.name)}", test=True))
        result = _run_nginx(exam, in_container, folder, main)
        if result is not None:
            _report_run(exam, "nginx.test", result, f"nginx accepts {file_name(service.name)}", "take a newer nginx")


def _run_nginx(exam: _Examination, in_container: bool, folder: Path, main: str) -> ExecResult | None:
    try:
        if not in_container:
            return LocalNginx(find_nginx(), folder).check(main)
        image = exam.settings.fleet.nginx_image
        if exam.docker is None or not exam.docker.image_id(image):
            exam.ok("nginx.test", f"not tried out: {image} is not in the daemon yet")
            return None
        mounts = [Mount(str(folder), ContainerNginx.inside)]
        return exam.docker.try_out(image, ["-t", "-q", "-c", main], entrypoint="nginx", mounts=mounts)
    except (UsageError, FleetError) as error:
        exam.blocked("nginx.test", error)
        return None


def _containers(exam: _Examination) -> list[ContainerSpec]:
    return [spec for spec in exam.plan if isinstance(spec, ContainerSpec)]
