"""The choice of the backend that runs a model."""

from embedfleet.engine.compute.backend import Backend
from embedfleet.engine.model.spec import ModelSpec
from embedfleet.engine.onnx.backend import OnnxBackend
from embedfleet.engine.onnx.cpu_features import read_cpu_flags, require_int8
from embedfleet.engine.onnx.exported_model import ExportedModelBackend
from embedfleet.engine.settings import EngineSettings
from embedfleet.errors import ModelError


def make_backend(spec: ModelSpec, settings: EngineSettings, *, cpu_flags: str | None = None) -> Backend:
    """Load a model into the backend that the settings choose.

    Args:
        spec: Model that `read_model` accepted.
        settings: Settings of the engine. ONNX Runtime computes on the CPU alone, in float32 or int8.
        cpu_flags: Features of the processor, as `read_cpu_flags` returns them; None to read them if needed.

    Raises:
        ModelError: The backend is not installed, lacks the device or the precision, or refuses the model.
        errors.OutOfMemory: The memory does not suffice for the weights.
    """
    if settings.backend == "onnx":
        return _onnx_backend(spec, settings, cpu_flags)
    return _torch_backend(spec, settings)


def _onnx_backend(spec: ModelSpec, settings: EngineSettings, cpu_flags: str | None) -> Backend:
    device, precision = settings.device, settings.precision
    if device != "cpu" or precision not in {"auto", "float32", "int8"}:
        raise ModelError(
            f"backend onnx computes in float32 or int8 on the CPU; device is {device!r}, precision {precision!r}",
            "set backend to torch, or leave device and precision as they are",
        )
    if precision == "int8":
        _check_int8(spec, read_cpu_flags() if cpu_flags is None else cpu_flags)
    if spec.is_onnx_file:
        return ExportedModelBackend.load(spec)
    return OnnxBackend.load(spec, settings.packed_folder, int8=precision == "int8")


def _torch_backend(spec: ModelSpec, settings: EngineSettings) -> Backend:
    if settings.precision == "int8":
        raise ModelError(
            "backend torch does not compute in int8", "set backend to onnx, or precision to float16 or bfloat16"
        )
    if spec.is_onnx_file:
        raise ModelError(
            f"backend torch needs the model's tensors, {spec.folder} has only {spec.weights_file.name}",
            "set backend to onnx, or copy the folder's model.safetensors too",
        )
    try:
        from embedfleet.engine.torch.backend import TorchBackend  # noqa: PLC0415 - an extra that takes seconds to load
    except ModuleNotFoundError as error:
        raise ModelError(
            f"backend torch needs PyTorch: no module named {error.name!r}", "pip install 'embedfleet[torch]'"
        ) from error
    return TorchBackend.load(spec, device=settings.device, precision=settings.precision)


def _check_int8(spec: ModelSpec, cpu_flags: str) -> None:
    """Check that the model has tensors to quantize, and that the processor has int8 instructions.

    Raises:
        ModelError: The folder has only an exported ONNX file, or the processor lacks int8 instructions.
    """
    if spec.is_onnx_file:
        raise ModelError(
            f"precision int8 needs the model's tensors, {spec.folder} has only {spec.weights_file.name}",
            "set precision to float32, or copy the folder's model.safetensors too",
        )
    require_int8(cpu_flags)
