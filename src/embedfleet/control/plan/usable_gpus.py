"""The GPUs that a fleet may use, and the image family for each."""

from collections.abc import Sequence

from embedfleet.config.settings import Service, Settings
from embedfleet.control.host.gpu import CPU, Gpu, GpuFamily, family_of, family_of_type
from embedfleet.control.plan.replica_placement import devices_of, substrate_of
from embedfleet.errors import UsageError


def usable_gpus(settings: Settings, gpus: Sequence[Gpu]) -> tuple[Gpu, ...]:
    """Return the GPUs that the fleet may use.

    Args:
        settings: Settings in force; ``gpu`` may name the type that the machine must have.
        gpus: All GPUs of the machine.

    Raises:
        UsageError: The GPU type is unknown, or a GPU that a container would use is of another type.
    """
    wanted = settings.fleet.gpu
    if wanted == "auto":
        return tuple(gpus)
    family = family_of_type(wanted)
    if family is CPU:
        return ()
    if not gpus:
        raise UsageError(
            f"the settings ask for {wanted}, but no NVIDIA driver shows a GPU on this machine",
            "install the driver (nvidia-smi must work), or omit the type to serve from the CPU",
        )
    for service in settings.services:
        for gpu in used_gpus(service, gpus):
            if gpu.capability != family.capability:
                raise UsageError(
                    f"{wanted} has compute capability {family.capability / 10}, but GPU {gpu.index} of this machine is"
                    f" a {gpu.name} with {gpu.capability / 10}",
                    "omit the type to use the GPUs of the machine, or choose GPUs with `devices`",
                )
    return tuple(gpus)


def used_gpus(service: Service, gpus: Sequence[Gpu]) -> list[Gpu]:
    """Return the GPUs that containers of a service are placed on, each once.

    Raises:
        UsageError: The service names a GPU that the machine does not have, or names one twice.
    """
    if substrate_of(service, gpus) != "docker":
        return []
    return list(dict.fromkeys(gpu for gpu in devices_of(service, gpus) if gpu is not None))


def families_of(settings: Settings, gpus: Sequence[Gpu]) -> dict[Gpu, GpuFamily]:
    """Return the image family of each GPU that containers are placed on.

    Raises:
        UsageError: A service names a GPU that the machine does not have, or TEI has no image for a GPU.
    """
    return {
        gpu: family_for(settings, service, gpu) for service in settings.services for gpu in used_gpus(service, gpus)
    }


def family_for(settings: Settings, service: Service, gpu: Gpu | None) -> GpuFamily:
    """Return the image family for a service on a GPU, or on the CPU if ``gpu`` is None.

    Raises:
        UsageError: TEI has no image for the GPU, and the service sets none, or ``gpu`` names a type.
    """
    if gpu is None:
        return CPU
    if service.options.image and settings.fleet.gpu in {"auto", ""}:
        try:
            return family_of(gpu)
        except UsageError:  # the image in the settings may run on this GPU
            return GpuFamily("other", gpu.capability, "", ())
    return family_of(gpu)
