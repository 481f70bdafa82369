"""PyTorch behind the engine's interface: for GPUs, and for the CPU where it is what one trusts."""

import threading
from contextlib import nullcontext
from typing import ClassVar

import numpy as np
import torch

from embedfleet.arrays import Floats, Integers
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


class TorchBackend:
    """See `Backend`. On the CPU one core per calling thread; on a GPU one pass at a time.

    Args:
        spec: of a folder that `read_model` accepted.
        device: ``cpu``, ``cuda`` or ``cuda:3``.
        precision: that the model computes in, norms aside; ``auto`` is float32 on the CPU and float16 on a GPU.

    Raises:
        ModelError: the device is not there, or the weights do not fit the config.
    """

    padding_free: ClassVar[bool] = True

    def __init__(self, spec: ModelSpec, *, device: str = "cpu", precision: str = "auto") -> None:
        self._spec = spec
        place = _device(device)
        usual = "float32" if place.type == "cpu" else "float16"
        self.precision = usual if precision == "auto" else precision
        self._weights = Weights(spec.weights_file, spec.family.anchor)
        if place.type == "cpu":
            require_memory(spec.folder, 0, self._weights.numbers * _DTYPES[self.precision].itemsize)
        self._values = TorchWeights(place, _DTYPES[self.precision])
        self._turn = nullcontext() if place.type == "cpu" else threading.Lock()
        if place.type == "cpu":
            torch.set_num_threads(1)

    def forward(
        self, ids: Integers, types: Integers, lengths: Integers, outputs: tuple[Output, ...]
    ) -> tuple[Floats, ...]:
        """See `Backend.forward`."""
        try:
            with self._turn, torch.inference_mode():
                found = self._compute(ids, types, lengths, outputs)
                rows = [found[output].float().cpu().numpy() for output in outputs]
        except ModelError:
            raise
        except (RuntimeError, MemoryError) as error:  # torch.OutOfMemoryError is a RuntimeError
            if _is_out_of_memory(error):
                tokens = f"{len(ids)} tokens in {len(lengths)} sequences"
                raise OutOfMemory(f"Backend error: out of memory for {tokens}") from error
            raise BackendError(f"Backend error: {error}") from error
        first = np.cumsum(lengths) - lengths
        return tuple(
            splade(row, first) if output is Output.WORDS else row for output, row in zip(outputs, rows, strict=True)
        )

    def check(self) -> None:
        """See `Backend.check`; nothing is mapped."""

    def _compute(
        self, ids: Integers, types: Integers, lengths: Integers, outputs: tuple[Output, ...]
    ) -> dict[Output, torch.Tensor]:
        family = self._spec.family
        held = np.minimum(types, family.token_types - 1)
        ops = TorchOps(self._values, ids, held, lengths, family.first_position)
        return compute_outputs(self._spec, ops, self._weights, outputs)


def _device(name: str) -> torch.device:
    """Raises ModelError: it is not there."""
    hint = "supported: cpu, cuda, cuda:N"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ModelError(f"device {name!r} is not one", hint) from error
    if device.type == "cuda":
        count = torch.cuda.device_count()
        if (device.index or 0) >= count:
            raise ModelError(
                f"device {name!r} is not there: PyTorch {torch.__version__} sees {count} GPUs",
                "set device to cpu, or install a PyTorch build for CUDA and check nvidia-smi",
            )
    elif device.type != "cpu":
        raise ModelError(f"device {name!r} is not supported", hint)
    return device


def _is_out_of_memory(error: Exception) -> bool:
    """The CPU's allocator has no type of its own: it says "can't allocate memory" (c10/core/impl/alloc_cpu.cpp)."""
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "allocate memory" in str(error)
