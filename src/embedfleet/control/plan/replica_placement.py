"""The placement of each service's replicas: their substrate, GPUs and share of the cores."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from embedfleet.config.model_name import AUTO
from embedfleet.config.settings import Service, Settings
from embedfleet.control.host.gpu import Gpu, select
from embedfleet.control.plan.machine import Machine

Substrate = Literal["process", "docker", "remote"]


@dataclass(frozen=True, slots=True)
class Placement:
    """The placement of one service.

    Attributes:
        service: Settings of the service.
        substrate: Substrate of its replicas.
        devices: The GPU of each replica, None for the CPU; empty if the replicas are servers elsewhere.
        is_balancer_in_container: Whether the balancer is a container.
        is_published: Whether replicas in containers are published on the loopback address.
        worker_threads: Cores for each replica that is a process.
        tokenization_workers: Tokenizer workers for each replica that is a container.
    """

    service: Service
    substrate: Substrate
    devices: tuple[Gpu | None, ...]
    is_balancer_in_container: bool
    is_published: bool
    worker_threads: int
    tokenization_workers: int


def place(settings: Settings, machine: Machine) -> list[Placement]:
    """Place every service of a fleet, in the order of the settings.

    Raises:
        UsageError: A service names a GPU that the machine does not have, or names one twice.
    """
    devices = [devices_of(service, machine.gpus) for service in settings.services]
    replicas = sum(map(len, devices))
    return [
        _place(service, found, machine, replicas) for service, found in zip(settings.services, devices, strict=True)
    ]


def _place(service: Service, devices: tuple[Gpu | None, ...], machine: Machine, replicas: int) -> Placement:
    """Place one service; ``replicas`` counts those of the whole fleet on this machine."""
    in_container = is_balancer_in_container(service, machine.gpus, has_own_image=machine.has_own_image)
    return Placement(
        service,
        substrate_of(service, machine.gpus),
        devices,
        is_balancer_in_container=in_container,
        is_published=not (in_container and machine.can_reach_containers),
        worker_threads=worker_threads(
            service.options.worker_threads, replicas=max(1, len(devices)), cores=machine.cores
        ),
        tokenization_workers=tokenization_workers(
            service.engine.tokenization_workers, replicas=replicas, cores=machine.cores
        ),
    )


def substrate_of(service: Service, gpus: Sequence[Gpu]) -> Substrate:
    """Return the substrate of a service's replicas."""
    if isinstance(service.options.replicas, tuple):
        return "remote"
    if service.options.driver == "auto":
        return "docker" if gpus else "process"
    return service.options.driver


def is_balancer_in_container(service: Service, gpus: Sequence[Gpu], *, has_own_image: bool) -> bool:
    """Whether the balancer of a service is a container.

    Args:
        service: Settings of the service.
        gpus: GPUs that the fleet may use.
        has_own_image: Whether this project's image is available; a gateway needs it, nginx does not.
    """
    if service.options.balancer_in != "auto":
        return service.options.balancer_in == "container"
    return substrate_of(service, gpus) == "docker" and (service.options.balancer == "nginx" or has_own_image)


def needs_docker(settings: Settings, gpus: Sequence[Gpu]) -> bool:
    """Whether any replica or balancer of the fleet is a container on this machine.

    This project's image makes no difference: ``auto`` puts a gateway into a container only if replicas are containers.
    """
    return any(
        substrate_of(service, gpus) == "docker" or is_balancer_in_container(service, gpus, has_own_image=False)
        for service in settings.services
    )


def has_gateway_processes(settings: Settings, gpus: Sequence[Gpu]) -> bool:
    """Whether any service surely has a gateway that is a process; an image of ours may be there."""
    return any(
        service.options.balancer == "gateway" and not is_balancer_in_container(service, gpus, has_own_image=True)
        for service in settings.services
    )


def devices_of(service: Service, gpus: Sequence[Gpu]) -> tuple[Gpu | None, ...]:
    """Return the GPU of each replica of a service on this machine, None for the CPU.

    Raises:
        UsageError: The service names a GPU that the machine does not have, or names one twice.
    """
    wanted = service.options.replicas
    if isinstance(wanted, tuple):  # servers elsewhere
        return ()
    if substrate_of(service, gpus) == "process":
        return (None,) * replica_count(wanted)
    usable = select(gpus, service.options.devices)
    return tuple(assign(replica_count(wanted, gpus=len(usable)), usable))


def replica_count(wanted: int | str, *, gpus: int = 0) -> int:
    """Return the number of replicas: as set, else one per GPU, else two.

    With two, one can die, be restarted or be busy with a long batch while the other answers.
    """
    return (gpus or 2) if isinstance(wanted, str) else wanted


def assign(count: int, gpus: Sequence[Gpu]) -> list[Gpu | None]:
    """Give each replica a GPU in turn: every GPU gets one replica before any gets two."""
    return [gpus[number % len(gpus)] if gpus else None for number in range(count)]


def worker_threads(wanted: int | str, *, replicas: int, cores: int) -> int:
    """Return the cores of one replica: as set, else an equal share for each replica of the service, at least one.

    Each service may use all cores: the kernel shares them between busy services, and an idle one leaves them to the
    others.
    """
    return max(1, cores // replicas) if isinstance(wanted, str) else wanted


def tokenization_workers(wanted: int | str, *, replicas: int, cores: int) -> int:
    """Return the tokenizer workers of one container: as set, else an equal share of the cores, from 1 to 64.

    Args:
        wanted: Setting ``tokenization_workers``.
        replicas: Replicas of the whole fleet on this machine.
        cores: Cores that the fleet may use.
    """
    return min(64, max(1, cores // max(1, replicas))) if isinstance(wanted, str) else wanted


def shares_weights(service: Service, count: int) -> bool:
    """Whether ``count`` replica processes map one copy of the weights instead of holding a copy each."""
    packed = service.engine.packed_dir
    return service.engine.backend == "onnx" and (count > 1 if packed == AUTO else bool(packed))
