"""What a fleet consists of: pure, from the settings and the machine."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

from embedfleet.config.model_name import AUTO, BUILTIN, model_folder, usual_folder
from embedfleet.config.option import options_of
from embedfleet.config.settings import EngineOptions, GatewayOptions, Service, Settings
from embedfleet.control.host.gpu import CPU, Gpu, GpuFamily, family_of, family_of_type, select
from embedfleet.control.plan.placement import assign, replica_count, tokenization_workers, worker_threads
from embedfleet.control.plan.specs import ChildSpec, ContainerSpec, Mount, ProcessSpec, RemoteSpec
from embedfleet.control.tei import launch
from embedfleet.control.tei.assembly import BASE
from embedfleet.control.tei.model import TeiModel
from embedfleet.errors import UsageError

Runs = Literal["process", "docker", "remote"]

_OWN_PORT = 8080  # of a gateway in its container, where it is no root
_SHARED = "/run/embedfleet"  # its folder as it sees it
_MODEL = "/tmp/model.json"  # noqa: S108 - its own: what model its replicas are, for when it is started again
GATEWAY_SOCKET, GATEWAY_MEMBERS = "admin.sock", "members.json"  # in that folder
_ANYBODY = "666"  # may use the socket: who cannot enter the folder above does not get there


@dataclass(frozen=True, slots=True)
class Machine:
    """What the fleet stands on.

    Attributes:
        cores: of the processor.
        gpus: that may be used; none if the fleet is told to leave them.
        driver: version of the NVIDIA driver; empty if there is none.
        own_image: whether the image of this project's Dockerfile can be had, so that a gateway may be a container.
        reaches_containers: whether this process can connect to a container's own address; if not, or where a gateway
            runs beside them, replicas are published on the loopback.
        models: what TEI makes of each service's model folder.
        weights: digest of what that folder holds.
    """

    cores: int
    gpus: tuple[Gpu, ...] = ()
    driver: str = ""
    own_image: bool = False
    reaches_containers: bool = True
    models: Mapping[str, TeiModel] = field(default_factory=dict)
    weights: Mapping[str, str] = field(default_factory=dict)


def runs_as(service: Service, gpus: Sequence[Gpu]) -> Runs:
    """What the replicas of a service are."""
    if isinstance(service.options.replicas, tuple):
        return "remote"
    if service.options.driver == "auto":
        return "docker" if gpus else "process"
    return service.options.driver


def balancer_in_container(service: Service, machine: Machine) -> bool:
    """Whether a service's balancer is a container."""
    if service.options.balancer_in != "auto":
        return service.options.balancer_in == "container"
    return runs_as(service, machine.gpus) == "docker" and (service.options.balancer == "nginx" or machine.own_image)


def shares_weights(service: Service, count: int) -> bool:
    """Whether so many replicas, as processes, map one copy of their model's weights instead of having one each."""
    packed = service.engine.packed_dir
    return service.engine.backend == "onnx" and (count > 1 if packed == AUTO else bool(packed))


def docker_model(settings: Settings, service: Service) -> Path | None:
    """The model folder of a service whose replicas are containers; None for the built-in of our own image.

    Raises:
        UsageError: a container cannot be given this model.
    """
    model = service.engine.model
    own = service.options.image == settings.fleet.own_image
    if model == BUILTIN or (model == AUTO and own):
        if own:
            return None
        raise UsageError(
            f"services.{service.name}.model is builtin, which TEI's containers do not have",
            "give a model folder, or set image to our own",
        )
    if model == AUTO:
        model = usual_folder(service.engine.task)
    folder = model_folder(model, settings.root)
    if folder is None:
        raise UsageError(
            f"services.{service.name}.model {model} is a hub id: containers get folders, and no network",
            f"clone https://huggingface.co/{model} with git-lfs into models/ and name the folder",
        )
    return folder


def nginx_folder(settings: Settings, service: str) -> Path:
    """Where a service's nginx finds its configuration."""
    return settings.state_dir / "nginx" / service


def gateway_folder(settings: Settings, service: str) -> Path:
    """What a service's gateway shares with this machine if it is a container."""
    return settings.state_dir / "gateway" / service


def assemblies_folder(settings: Settings) -> Path:
    """Where the folders are that TEI sees in place of models'."""
    return settings.state_dir / "tei"


def family_for(settings: Settings, service: Service, gpu: Gpu | None) -> GpuFamily:
    """The family of the image that a service has on a GPU, or on the CPU.

    Raises:
        UsageError: there is no image for it.
    """
    if gpu is None:
        return CPU
    if service.options.image and settings.fleet.gpu in {"auto", ""}:
        try:
            return family_of(gpu)
        except UsageError:  # the person has an image for it
            return GpuFamily("other", gpu.capability, "", ())
    return family_of(gpu)


def make_plan(settings: Settings, machine: Machine, *, sockets: Path) -> list[ChildSpec]:
    """Every child of the fleet, in the order in which they are to be started.

    Args:
        settings: in force.
        machine: it stands on.
        sockets: a folder for admin sockets.

    Raises:
        UsageError: settings and machine do not go together.
    """
    plan = _Plan(settings, machine, sockets)
    children = [child for service in settings.services for child in plan.children(service)]
    owners = {child.name: child.service for child in reversed(children)}
    for child in children:
        if owners[child.name] != child.service:
            raise UsageError(
                f"{child.name} is of services.{owners[child.name]} and of services.{child.service}",
                f"set another services.{child.service}.upstream, or name the service otherwise",
            )
    return children


class _Plan:
    def __init__(self, settings: Settings, machine: Machine, sockets: Path) -> None:
        self._settings = settings
        self._machine = machine
        self._sockets = sockets

    def children(self, service: Service) -> list[ChildSpec]:
        replicas: Sequence[ChildSpec]
        match runs_as(service, self._machine.gpus):
            case "process":
                replicas = self._processes(service)
            case "docker":
                replicas = self._containers(service)
            case "remote":
                replicas = _remotes(service)
        balancer = self._balancer(service, replicas)
        # A container finds the replicas by name: nginx does not start with one that the network does not know yet.
        # A process starts the sooner the better.
        return [*replicas, balancer] if isinstance(balancer, ContainerSpec) else [balancer, *replicas]

    def _processes(self, service: Service) -> list[ProcessSpec]:
        count = self._count(service)
        threads = worker_threads(service.options.worker_threads, replicas=count, cores=self._machine.cores)
        flags = ("engine", f"--worker-threads={threads}", *self._common(service))
        packed = service.engine.packed_dir
        if packed == AUTO:
            packed = str(self._settings.state_dir / "packed") if shares_weights(service, count) else ""
        flags += _changed(EngineOptions, replace(service.engine, packed_dir=packed))
        return [ProcessSpec(f"{service.name}-{n}", service.name, "replica", flags) for n in range(count)]

    def _containers(self, service: Service) -> list[ContainerSpec]:
        gpus = select(self._machine.gpus, service.options.devices)
        count = replica_count(_number(service), gpus=len(gpus))
        placed = assign(count, gpus)
        return [self._container(service, number, gpu) for number, gpu in enumerate(placed)]

    def _container(self, service: Service, number: int, gpu: Gpu | None) -> ContainerSpec:
        fleet, options = self._settings.fleet, service.options
        family = family_for(self._settings, service, gpu)
        own = options.image == fleet.own_image
        model = docker_model(self._settings, service)
        found = self._machine.models.get(service.name)
        arguments = launch.arguments(
            service.engine,
            model=str(model or BUILTIN),
            version=fleet.tei_version,
            payload_limit_bytes=options.payload_limit_bytes,
            workers=tokenization_workers(
                service.engine.tokenization_workers, replicas=self._replicas(), cores=self._machine.cores
            ),
            max_input_length=found.verdict.max_input_length if found else 0,
            dtype=options.dtype,
            more=found.verdict.flags if found else {},
        )
        tars = self._settings.root / fleet.images_dir
        mounts = [Mount(str(self._settings.root / fleet.data_dir), "/data", read_only=False)]
        if model is not None:
            mounts[:0] = self._model_mounts(model, found)
        return ContainerSpec(
            f"{service.upstream}-{number}",
            service.name,
            "replica",
            image=options.image or family.image(fleet.tei_image, fleet.tei_version),
            tars=() if options.image else (tars / family.tar,),
            arguments=("tei", *arguments) if own else arguments,
            entrypoint=() if own else launch.entrypoint(fleet.tei_version, self._machine.driver if gpu else ""),
            environment=launch.environment(family),
            mounts=tuple(mounts),
            network=fleet.network,
            gpu=gpu.uuid if gpu else "",
            port=launch.PORT,
            model=str(model or BUILTIN),
            weights=self._machine.weights.get(service.name, ""),
            reading=_reading(service.engine, found),
            publish=("127.0.0.1", 0) if self._is_published(service) else None,
        )

    def _model_mounts(self, model: Path, found: TeiModel | None) -> list[Mount]:
        """The folder by the same path inside as outside, as people's scripts have it."""
        if found is None or found.assembly is None:
            return [Mount(str(model), str(model))]
        instead = assemblies_folder(self._settings) / found.assembly.key
        outside = [Mount(source, target) for source, target in found.assembly.mounts.items()]
        return [Mount(str(instead), str(model)), Mount(str(model), BASE), *outside]

    def _is_published(self, service: Service) -> bool:
        return not (self._machine.reaches_containers and balancer_in_container(service, self._machine))

    def _balancer(self, service: Service, replicas: Sequence[ChildSpec]) -> ChildSpec:
        in_container = balancer_in_container(service, self._machine)
        if in_container and any(isinstance(replica, ProcessSpec) for replica in replicas):
            raise UsageError(
                f"services.{service.name}.balancer_in is container, but its replicas are processes of this machine",
                "leave balancer_in away, or set driver to docker",
            )
        if service.options.balancer == "nginx":
            return self._nginx_container(service) if in_container else self._nginx_process(service)
        if in_container:
            return self._gateway_container(service)
        return self._gateway_process(service)

    def _gateway_process(self, service: Service) -> ProcessSpec:
        admin = str(self._sockets / f"{service.name}.sock")
        flags: tuple[str, ...]
        listens = (service.options.host, service.options.port)
        flags = ("gateway", f"--host={listens[0]}", f"--port={listens[1]}")
        flags += (f"--model-file={self._sockets / f'{service.name}.model'}",)
        flags += (f"--drain-s={self._settings.fleet.drain_s}", *self._common(service))
        flags += _changed(GatewayOptions, service.gateway)
        return ProcessSpec(f"{service.name}-gateway", service.name, "balancer", flags, admin, listens)

    def _gateway_container(self, service: Service) -> ContainerSpec:
        """Its replicas are none of its arguments: it is told of them, so that it need not be replaced for others."""
        flags: tuple[str, ...] = ("gateway", "--respawn", "--host=0.0.0.0", f"--port={_OWN_PORT}")
        flags += (f"--admin={_SHARED}/{GATEWAY_SOCKET}", f"--admin-mode={_ANYBODY}")
        flags += (f"--members={_SHARED}/{GATEWAY_MEMBERS}", f"--model-file={_MODEL}")
        flags += (f"--drain-s={self._settings.fleet.drain_s}", *self._common(service))
        return ContainerSpec(
            f"gateway-{service.name}-lb",
            service.name,
            "balancer",
            image=self._settings.fleet.own_image,
            tars=(self._settings.root / self._settings.fleet.images_dir / "embedfleet.tar",),
            arguments=(*flags, *_changed(GatewayOptions, service.gateway)),
            mounts=(Mount(str(gateway_folder(self._settings, service.name)), _SHARED, read_only=False),),
            network=self._settings.fleet.network,
            port=_OWN_PORT,
            publish=(service.options.host, service.options.port),
        )

    def _nginx_container(self, service: Service) -> ContainerSpec:
        fleet = self._settings.fleet
        return ContainerSpec(
            f"nginx-{service.name}-lb",
            service.name,
            "balancer",
            image=fleet.nginx_image,
            tars=(self._settings.root / fleet.images_dir / "nginx.tar",),
            # The folder and not a file of it: a file is mounted by its inode, and a new one would not be seen.
            mounts=(Mount(str(nginx_folder(self._settings, service.name)), "/etc/nginx/conf.d"),),
            network=fleet.network,
            port=80,
            publish=(service.options.host, service.options.port),
        )

    def _nginx_process(self, service: Service) -> ProcessSpec:
        folder = str(nginx_folder(self._settings, service.name))
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(service.options.host, service.options.host)
        flags = ("nginx", f"--folder={folder}", f"--host={host}", f"--port={service.options.port}")
        return ProcessSpec(f"{service.name}-nginx", service.name, "balancer", flags)

    def _common(self, service: Service) -> tuple[str, ...]:
        fleet = self._settings.fleet
        return (
            f"--log-level={fleet.log_level}",
            f"--log-format={fleet.log_format}",
            f"--stop-grace-s={fleet.stop_grace_s}",
            f"--payload-limit-bytes={service.options.payload_limit_bytes}",
        )

    def _count(self, service: Service) -> int:
        if runs_as(service, self._machine.gpus) == "docker":
            return replica_count(_number(service), gpus=len(select(self._machine.gpus, service.options.devices)))
        return replica_count(_number(service))

    def _replicas(self) -> int:
        """Of the whole fleet on this machine."""
        local = [s for s in self._settings.services if runs_as(s, self._machine.gpus) != "remote"]
        return sum(self._count(service) for service in local)


def check_machine(settings: Settings, gpus: Sequence[Gpu]) -> tuple[Gpu, ...]:
    """The GPUs that the fleet may use, once the GPU type that was asked for is held against them.

    Raises:
        UsageError: the type is not known, or the machine contradicts it.
    """
    wanted = settings.fleet.gpu
    if wanted == "auto":
        return tuple(gpus)
    family = family_of_type(wanted)
    if family is CPU:
        return ()
    if not gpus:
        raise UsageError(
            f"{wanted} is asked for, but no NVIDIA driver shows a GPU on this machine",
            "install the driver (nvidia-smi must work), or leave the type away to serve from the CPU",
        )
    for service in settings.services:
        # What no container is put on contradicts nothing.
        used = select(gpus, service.options.devices) if runs_as(service, gpus) == "docker" else ()
        for gpu in used:
            if gpu.capability != family.capability:
                raise UsageError(
                    f"{wanted} has compute capability {family.capability / 10}, but GPU {gpu.index} of this machine is"
                    f" a {gpu.name} with {gpu.capability / 10}",
                    "leave the type away to take what the machine has, or choose GPUs with `devices`",
                )
    return tuple(gpus)


def peer_url(replica: ChildSpec) -> str:
    """A replica's URL as containers on the fleet's network reach it."""
    if isinstance(replica, ContainerSpec):
        return f"http://{replica.address}"
    assert isinstance(replica, RemoteSpec), "a container cannot reach a process of this machine's loopback"
    return replica.url


def _remotes(service: Service) -> list[RemoteSpec]:
    urls = service.options.replicas
    assert isinstance(urls, tuple)
    name = service.upstream
    return [RemoteSpec(f"{name}-{n}", service.name, "replica", url.rstrip("/")) for n, url in enumerate(urls)]


def _reading(options: EngineOptions, found: TeiModel | None) -> str:
    """What changes the vectors of a service's model beside the folder, as text; empty for none."""
    said = {
        "pooling": "" if options.pooling == "auto" else options.pooling,
        "prompt-name": options.default_prompt_name,
        "prompt": options.default_prompt and hashlib.sha256(options.default_prompt.encode()).hexdigest()[:12],
        "tei": found.verdict.digest if found else "",
    }
    return " ".join(f"{name}={value}" for name, value in said.items() if value)


def _number(service: Service) -> int | str:
    wanted = service.options.replicas
    assert not isinstance(wanted, tuple), "only replicas of ours are counted"
    return wanted


def _changed(record: type, values: Any) -> tuple[str, ...]:  # noqa: ANN401 - an instance of `record`
    """The flags of the options that differ from their defaults, each in one word: a value may begin with a dash."""
    known = options_of(record)
    flags: list[str] = []
    for item in fields(record):
        value = getattr(values, item.name)
        if value != item.default:
            flags.append(f"{known[item.name].flag}={str(value).lower() if isinstance(value, bool) else value}")
    return tuple(flags)
