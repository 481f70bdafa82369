"""The backend that computes with PyTorch, on GPUs and on the CPU."""

import threading
from contextlib import nullcontext
from typing import ClassVar

import numpy as np
import torch
from typing_extensions import override

from embedfleet.arrays import Floats, Integers
from embedfleet.engine.compute.backend import Backend
from embedfleet.engine.compute.output import Output
from embedfleet.engine.compute.output_heads import compute_outputs
from embedfleet.engine.compute.pooling import splade
from embedfleet.engine.compute.resource_check import require_memory
from embedfleet.engine.files.weights import Weights
from embedfleet.engine.model.spec import ModelSpec
from embedfleet.engine.torch.ops import TorchOps, TorchWeights
from embedfleet.errors import Backend as BackendError
from embedfleet.errors import ModelError, OutOfMemory

_DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


class TorchBackend(Backend):
    """Runs a model in PyTorch: on the CPU on one core per calling thread, on a GPU one pass at a time.

    Args:
        spec: Model that `read_model` accepted.
        weights: Tensors of the model's files.
        device: Device that computes.
        precision: Number type that the model computes in; norms, rotations, means and shares of experts use float32.
    """

    is_padding_free: ClassVar[bool] = True

    def __init__(self, spec: ModelSpec, weights: Weights, device: torch.device, precision: str) -> None:
        self.precision = precision
        self._spec = spec
        self._weights = weights
        self._values = TorchWeights(device, _DTYPES[precision])
        self._turn = nullcontext() if device.type == "cpu" else threading.Lock()

    @classmethod
    def load(cls, spec: ModelSpec, *, device: str = "cpu", precision: str = "auto") -> "TorchBackend":
        """Open a model's weights; a tensor is read when a pass first needs it.

        Args:
            spec: Model that `read_model` accepted.
            device: ``cpu``, ``cuda`` or ``cuda:3``.
            precision: Number type to compute in; ``auto`` is float32 on the CPU and float16 on a GPU.

        Raises:
            ModelError: The device is missing, or the weights do not fit the config.
        """
        place = _find_device(device)
        is_cpu = place.type == "cpu"
        if precision == "auto":
            precision = "float32" if is_cpu else "float16"
        weights = Weights(spec.weights_file, spec.family.anchor)
        if is_cpu:
            require_memory(spec.folder, 0, weights.numbers * _DTYPES[precision].itemsize)
            torch.set_num_threads(1)
        return cls(spec, weights, place, precision)

    @override
    def forward(
        self, ids: Integers, types: Integers, lengths: Integers, outputs: tuple[Output, ...]
    ) -> tuple[Floats, ...]:
        try:
            with self._turn, torch.inference_mode():
                found = self._compute(ids, types, lengths, outputs)
                rows = [found[output].float().cpu().numpy() for output in outputs]
        except ModelError:
            raise
        except (RuntimeError, MemoryError) as error:  # torch.OutOfMemoryError is a RuntimeError too
            if _is_out_of_memory(error):
                tokens = f"{len(ids)} tokens in {len(lengths)} sequences"
                raise OutOfMemory(f"Backend error: out of memory for {tokens}") from error
            raise BackendError(f"Backend error: {error}") from error
        first = np.cumsum(lengths) - lengths
        return tuple(
            splade(row, first) if output is Output.WORDS else row for output, row in zip(outputs, rows, strict=True)
        )

    @override
    def check(self) -> None:
        """Do nothing, since no file is mapped."""

    def _compute(
        self, ids: Integers, types: Integers, lengths: Integers, outputs: tuple[Output, ...]
    ) -> dict[Output, torch.Tensor]:
        family = self._spec.family
        held = np.minimum(types, family.token_types - 1)
        ops = TorchOps(self._values, ids, held, lengths, family.first_position)
        return compute_outputs(self._spec, ops, self._weights, outputs)


def _find_device(name: str) -> torch.device:
    """Find a device by its name.

    Raises:
        ModelError: The machine lacks the device, or it is neither a CPU nor a CUDA GPU.
    """
    hint = "supported: cpu, cuda, cuda:N"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ModelError(f"PyTorch knows no device {name!r}", hint) from error
    if device.type == "cuda":
        count = torch.cuda.device_count()
        if (device.index or 0) >= count:
            raise ModelError(
                f"device {name!r} is missing: PyTorch {torch.__version__} sees {count} GPUs",
                "set device to cpu, or install a PyTorch build for CUDA and check nvidia-smi",
            )
    elif device.type != "cpu":
        raise ModelError(f"device {name!r} is not supported", hint)
    return device


def _is_out_of_memory(error: Exception) -> bool:
    """Whether an error means that memory could not be allocated.

    The CPU's allocator has no error type; it says "can't allocate memory" (c10/core/impl/alloc_cpu.cpp).
    """
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "allocate memory" in str(error)
