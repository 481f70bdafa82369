"""Which backend runs a model."""

from pathlib import Path

from embedfleet.engine.compute.backend import Backend
from embedfleet.engine.model.spec import ModelSpec
from embedfleet.engine.onnx.backend import OnnxBackend
from embedfleet.engine.onnx.cpu_features import read_cpu_flags, require_int8
from embedfleet.engine.onnx.exported_model import ExportedModelBackend
from embedfleet.engine.settings import BackendName, Precision
from embedfleet.errors import ModelError


def make_backend(
    spec: ModelSpec,
    name: BackendName = "onnx",
    device: str = "cpu",
    precision: Precision = "auto",
    packed: Path | None = None,
    *,
    flags: str | None = None,
) -> Backend:
    """The backend of that name, with the model in it.

    Args:
        spec: of a folder that `read_model` accepted.
        name: of the library.
        device: ``cpu``, ``cuda`` or ``cuda:3``; ONNX Runtime has the CPU alone.
        precision: ``auto`` is float32 on the CPU and float16 on a GPU; ONNX Runtime computes in float32, or int8.
        packed: folder of packed weights, see `OnnxBackend`.
        flags: what the processor can do, see `processor`; None looks.

    Raises:
        ModelError: it is not installed, has not got the device or the precision, or does not take the model.
        errors.OutOfMemory: there is no room for the weights.
    """
    if name == "onnx":
        if device != "cpu" or precision not in {"auto", "float32", "int8"}:
            raise ModelError(
                f"backend onnx computes in float32 or int8 on the CPU; device is {device!r}, precision {precision!r}",
                "set backend to torch, or leave device and precision as they are",
            )
        int8 = precision == "int8"
        if int8:
            _check_int8(spec, read_cpu_flags() if flags is None else flags)
        return ExportedModelBackend(spec) if spec.is_onnx_file else OnnxBackend(spec, packed, int8=int8)
    if precision == "int8":
        raise ModelError(
            "backend torch does not compute in int8", "set backend to onnx, or precision to float16 or bfloat16"
        )
    if spec.is_onnx_file:
        raise ModelError(
            f"backend torch needs the model's tensors, {spec.folder} has only {spec.weights_file.name}",
            "set backend to onnx, or copy the folder's model.safetensors too",
        )
    try:
        from embedfleet.engine.torch.backend import TorchBackend  # noqa: PLC0415 - an extra, and seconds to load
    except ModuleNotFoundError as error:
        raise ModelError(
            f"backend torch needs PyTorch: no module named {error.name!r}", "pip install 'embedfleet[torch]'"
        ) from error
    return TorchBackend(spec, device=device, precision=precision)


def _check_int8(spec: ModelSpec, flags: str) -> None:
    """See that the model's own tensors are there to be made bytes of, and a processor that gains by it."""
    if spec.is_onnx_file:
        raise ModelError(
            f"precision int8 needs the model's tensors, {spec.folder} has only {spec.weights_file.name}",
            "set precision to float32, or copy the folder's model.safetensors too",
        )
    require_int8(flags)
