"""The specs of children that are processes on this machine: engines, gateways and nginx."""

from dataclasses import replace
from pathlib import Path

from embedfleet.config.model_name import AUTO
from embedfleet.config.settings import EngineOptions, GatewayOptions, Service, Settings
from embedfleet.control.plan.process_flags import changed_flags, common_flags
from embedfleet.control.plan.replica_placement import Placement, shares_weights
from embedfleet.control.plan.specs import ProcessSpec
from embedfleet.control.plan.state_folders import GATEWAY_ANSWERS, answers_folder, nginx_folder


def engine_processes(settings: Settings, placement: Placement) -> list[ProcessSpec]:
    """Return the replicas of a service as engine processes."""
    service, count = placement.service, len(placement.devices)
    packed = service.engine.packed_dir
    if packed == AUTO:
        packed = str(settings.state_dir / "packed") if shares_weights(service, count) else ""
    flags = ("engine", f"--worker-threads={placement.worker_threads}", *common_flags(settings, service))
    flags += changed_flags(EngineOptions, replace(service.engine, packed_dir=packed))
    return [ProcessSpec(f"{service.name}-{n}", service.name, "replica", flags) for n in range(count)]


def gateway_process(settings: Settings, service: Service, sockets: Path) -> ProcessSpec:
    """Return the gateway of a service as a process, with its admin socket in the folder ``sockets``."""
    listens = (service.options.host, service.options.port)
    flags: tuple[str, ...] = ("gateway", f"--host={listens[0]}", f"--port={listens[1]}")
    flags += (f"--model-file={sockets / f'{service.name}.model'}",)
    if service.gateway.gateway_cache_keep:
        flags += (f"--cache-file={answers_folder(settings, service.name) / GATEWAY_ANSWERS}",)
    flags += (f"--drain-s={settings.fleet.drain_s}", *common_flags(settings, service))
    flags += changed_flags(GatewayOptions, service.gateway)
    admin = str(sockets / f"{service.name}.sock")
    return ProcessSpec(f"{service.name}-gateway", service.name, "balancer", flags, admin, listens)


def nginx_process(settings: Settings, service: Service) -> ProcessSpec:
    """Return the nginx of a service as a process."""
    folder = str(nginx_folder(settings, service.name))
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(service.options.host, service.options.host)
    flags = ("nginx", f"--folder={folder}", f"--host={host}", f"--port={service.options.port}")
    return ProcessSpec(f"{service.name}-nginx", service.name, "balancer", flags)
