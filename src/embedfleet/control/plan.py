"""What processes a fleet consists of: pure, from the settings."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from embedfleet.config.option import options_of
from embedfleet.config.settings import EngineOptions, GatewayOptions, Service, Settings
from embedfleet.control.placement import replica_count, worker_threads

Kind = Literal["gateway", "replica"]


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """One process: a verb of our own command line with its flags.

    Attributes:
        name: ``embedder-0``, ``embedder-gateway``.
        admin: the gateway's admin socket; empty for a replica.
    """

    name: str
    service: str
    kind: Kind
    arguments: tuple[str, ...]
    admin: str = ""


def make_plan(settings: Settings, *, cores: int, sockets: Path) -> list[ChildSpec]:
    """Every process of the fleet.

    Args:
        settings: in force.
        cores: of the machine.
        sockets: a folder for admin sockets.
    """
    return [spec for service in settings.services for spec in _service(settings, service, cores, sockets)]


def _service(settings: Settings, service: Service, cores: int, sockets: Path) -> list[ChildSpec]:
    count = replica_count(service.options.replicas)
    threads = worker_threads(service.options.worker_threads, replicas=count, cores=cores)
    admin = str(sockets / f"{service.name}.sock")
    common = [
        *("--log-level", settings.fleet.log_level),
        *("--log-format", settings.fleet.log_format),
        *("--stop-grace-s", str(settings.fleet.stop_grace_s)),
        *("--payload-limit-bytes", str(service.options.payload_limit_bytes)),
    ]
    gateway = [
        "gateway",
        *("--host", service.options.host, "--port", str(service.options.port), "--admin", admin),
        *("--drain-s", str(settings.fleet.drain_s)),
        *common,
        *_changed(GatewayOptions, service.gateway),
    ]
    engine = ["engine", "--worker-threads", str(threads), *common, *_changed(EngineOptions, service.engine)]
    specs = [ChildSpec(f"{service.name}-gateway", service.name, "gateway", tuple(gateway), admin)]
    specs += [ChildSpec(f"{service.name}-{n}", service.name, "replica", tuple(engine)) for n in range(count)]
    return specs


def _changed(record: type, values: Any) -> list[str]:  # noqa: ANN401 - an instance of `record`
    """The flags of the options that differ from their defaults."""
    known = options_of(record)
    flags: list[str] = []
    for item in fields(record):
        value = getattr(values, item.name)
        if value != item.default:
            flags += [known[item.name].flag, str(value).lower() if isinstance(value, bool) else str(value)]
    return flags
