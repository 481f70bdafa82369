"""The NVIDIA driver and the GPUs that it reports; the only module that uses ``pynvml`` (nvidia-ml-py, an extra)."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embedfleet.control.host.gpu import Gpu
from embedfleet.errors import UsageError


@dataclass(frozen=True, slots=True)
class NvidiaDriver:
    """The NVIDIA driver.

    Attributes:
        version: Version, such as ``550.54.15``.
        gpus: All GPUs of the machine.
    """

    version: str
    gpus: tuple[Gpu, ...]


def has_gpu(root: Path = Path("/")) -> bool:
    """Whether the files of the NVIDIA driver show a GPU; this needs no library."""
    drivers = root / "proc/driver/nvidia/gpus"
    return (drivers.is_dir() and any(drivers.iterdir())) or any((root / "dev").glob("nvidia[0-9]*"))


def read_driver() -> NvidiaDriver | None:
    """Ask the driver for its version and GPUs; None if this machine has no driver.

    Raises:
        UsageError: ``nvidia-ml-py`` is not installed although there is a GPU, or the driver does not answer.
    """
    try:
        import pynvml  # noqa: PLC0415 - an extra, loaded only when asked for
    except ImportError as error:
        if not has_gpu():
            return None
        raise UsageError(
            "nvidia-ml-py is not installed, so the GPUs cannot be seen", "pip install nvidia-ml-py"
        ) from error
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        absent = (pynvml.NVMLError_LibraryNotFound, pynvml.NVMLError_DriverNotLoaded)
        if isinstance(error, absent) and not has_gpu():
            return None
        raise UsageError(f"the NVIDIA driver does not answer: {error}", "check that nvidia-smi works") from error
    try:
        return NvidiaDriver(_text(pynvml.nvmlSystemGetDriverVersion()), tuple(_gpus(pynvml)))
    except pynvml.NVMLError as error:
        raise UsageError(f"the NVIDIA driver does not answer: {error}", "check that nvidia-smi works") from error
    finally:
        pynvml.nvmlShutdown()


def _gpus(nvml: Any) -> list[Gpu]:  # noqa: ANN401 - a module without types
    found = []
    for index in range(nvml.nvmlDeviceGetCount()):
        handle = nvml.nvmlDeviceGetHandleByIndex(index)
        major, minor = nvml.nvmlDeviceGetCudaComputeCapability(handle)
        # Memory and processes are optional: some drivers and cards do not report them.
        memory = _try(nvml, nvml.nvmlDeviceGetMemoryInfo, handle)
        running = _try(nvml, nvml.nvmlDeviceGetComputeRunningProcesses, handle) or []
        found.append(
            Gpu(
                index=index,
                uuid=_text(nvml.nvmlDeviceGetUUID(handle)),
                name=_text(nvml.nvmlDeviceGetName(handle)),
                capability=major * 10 + minor,
                memory_bytes=int(memory.total) if memory else 0,
                free_bytes=int(memory.free) if memory else 0,
                processes=tuple(int(process.pid) for process in running),
            )
        )
    return found


def _try(nvml: Any, ask: Callable[[Any], Any], handle: object) -> Any:  # noqa: ANN401
    # A driver older than the library lacks the newest version of a call, which is an error of another class.
    with suppress(nvml.NVMLError, nvml.NVMLLibraryMismatchError):
        return ask(handle)
    return None


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
