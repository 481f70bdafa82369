"""The specs of children that are containers: replicas of TEI or of our own image, gateways and nginx."""

import hashlib
from pathlib import Path

from embedfleet.config.model_name import BUILTIN
from embedfleet.config.settings import EngineOptions, GatewayOptions, Service, Settings
from embedfleet.control.plan.container_model import container_model
from embedfleet.control.plan.machine import Machine
from embedfleet.control.plan.process_flags import changed_flags, common_flags
from embedfleet.control.plan.replica_placement import Placement
from embedfleet.control.plan.specs import ContainerSpec, Mount
from embedfleet.control.plan.state_folders import (
    GATEWAY_ANSWERS,
    GATEWAY_MEMBERS,
    GATEWAY_SOCKET,
    answers_folder,
    assemblies_folder,
    gateway_folder,
    nginx_folder,
)
from embedfleet.control.plan.usable_gpus import family_for
from embedfleet.control.tei import container_flags
from embedfleet.control.tei.assembly import BASE
from embedfleet.control.tei.model import TeiModel

_GATEWAY_PORT = 8080  # inside the container, where the gateway is not root
_GATEWAY_FOLDER = "/run/embedfleet"  # the gateway's folder as the container sees it
_ANSWERS_FOLDER = "/var/lib/embedfleet"  # the folder of the gateway's kept answers as the container sees it
_GATEWAY_MODEL = "/tmp/model.json"  # noqa: S108 - inside the container; keeps the model for a restarted gateway
_ANYBODY = "666"  # mode of the admin socket; the folder above keeps others out


def replica_containers(settings: Settings, machine: Machine, placement: Placement) -> list[ContainerSpec]:
    """Return the replicas of a service as containers.

    Raises:
        UsageError: A container cannot get the model, a GPU has no image, or the release of TEI lacks an option.
    """
    return [_replica(settings, machine, placement, number) for number in range(len(placement.devices))]


def _replica(settings: Settings, machine: Machine, placement: Placement, number: int) -> ContainerSpec:
    fleet, service, options = settings.fleet, placement.service, placement.service.options
    gpu, model = placement.devices[number], container_model(settings, placement.service)
    family = family_for(settings, service, gpu)
    own = options.image == fleet.own_image
    found = machine.tei_models.get(service.name)
    arguments = container_flags.arguments(
        service.engine,
        model=str(model or BUILTIN),
        version=fleet.tei_version,
        payload_limit_bytes=options.payload_limit_bytes,
        workers=placement.tokenization_workers,
        max_input_length=found.verdict.max_input_length if found else 0,
        dtype=options.dtype,
        more=found.verdict.flags if found else {},
    )
    return ContainerSpec(
        f"{service.upstream}-{number}",
        service.name,
        "replica",
        image=options.image or family.image(fleet.tei_image, fleet.tei_version),
        tars=() if options.image else (settings.root / fleet.images_dir / family.tar,),
        arguments=("tei", *arguments) if own else arguments,
        entrypoint=() if own else container_flags.entrypoint(fleet.tei_version, machine.driver_version if gpu else ""),
        environment=container_flags.environment(family),
        mounts=(
            *(_model_mounts(settings, model, found) if model is not None else ()),
            Mount(str(settings.root / fleet.data_dir), "/data", read_only=False),
        ),
        network=fleet.network,
        gpu=gpu.uuid if gpu else "",
        port=container_flags.PORT,
        model=str(model or BUILTIN),
        weights=machine.model_digests.get(service.name, ""),
        reading=_reading(service.engine, found),
        publish=("127.0.0.1", 0) if placement.is_published else None,
    )


def _model_mounts(settings: Settings, model: Path, found: TeiModel | None) -> list[Mount]:
    """Mount the model folder at its path outside the container, because users' scripts name that path."""
    if found is None or found.assembly is None:
        return [Mount(str(model), str(model))]
    instead = assemblies_folder(settings) / found.assembly.key
    outside = [Mount(source, target) for source, target in found.assembly.mounts.items()]
    return [Mount(str(instead), str(model)), Mount(str(model), BASE), *outside]


def _reading(options: EngineOptions, found: TeiModel | None) -> str:
    """Return the settings that change a model's vectors, as ``name=value`` words; empty if all have their defaults."""
    stated = {
        "pooling": "" if options.pooling == "auto" else options.pooling,
        "prompt-name": options.default_prompt_name,
        "prompt": options.default_prompt and hashlib.sha256(options.default_prompt.encode()).hexdigest()[:12],
        "tei": found.verdict.digest if found else "",
    }
    return " ".join(f"{name}={value}" for name, value in stated.items() if value)


def gateway_container(settings: Settings, service: Service) -> ContainerSpec:
    """Return the gateway of a service as a container.

    Its arguments do not list the replicas: the gateway reads them from the shared folder, so that a change of replicas
    does not replace it.
    """
    fleet = settings.fleet
    flags: tuple[str, ...] = ("gateway", "--respawn", "--host=0.0.0.0", f"--port={_GATEWAY_PORT}")
    flags += (f"--admin={_GATEWAY_FOLDER}/{GATEWAY_SOCKET}", f"--admin-mode={_ANYBODY}")
    flags += (f"--members={_GATEWAY_FOLDER}/{GATEWAY_MEMBERS}", f"--model-file={_GATEWAY_MODEL}")
    mounts = [Mount(str(gateway_folder(settings, service.name)), _GATEWAY_FOLDER, read_only=False)]
    if service.gateway.gateway_cache_keep:
        flags += (f"--cache-file={_ANSWERS_FOLDER}/{GATEWAY_ANSWERS}",)
        mounts.append(Mount(str(answers_folder(settings, service.name)), _ANSWERS_FOLDER, read_only=False))
    flags += (f"--drain-s={fleet.drain_s}", *common_flags(settings, service))
    return ContainerSpec(
        f"gateway-{service.name}-lb",
        service.name,
        "balancer",
        image=fleet.own_image,
        tars=(settings.root / fleet.images_dir / "embedfleet.tar",),
        arguments=(*flags, *changed_flags(GatewayOptions, service.gateway)),
        mounts=tuple(mounts),
        network=fleet.network,
        port=_GATEWAY_PORT,
        publish=(service.options.host, service.options.port),
    )


def nginx_container(settings: Settings, service: Service) -> ContainerSpec:
    """Return the nginx of a service as a container."""
    fleet = settings.fleet
    return ContainerSpec(
        f"nginx-{service.name}-lb",
        service.name,
        "balancer",
        image=fleet.nginx_image,
        tars=(settings.root / fleet.images_dir / "nginx.tar",),
        # A folder, not the file: a mount of a file follows its inode, so the container would not see a new file.
        mounts=(Mount(str(nginx_folder(settings, service.name)), "/etc/nginx/conf.d"),),
        network=fleet.network,
        port=80,
        publish=(service.options.host, service.options.port),
    )
