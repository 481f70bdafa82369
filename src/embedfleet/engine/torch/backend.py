"""The backend that computes with PyTorch, on GPUs and on the CPU."""

import threading
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor as Values
from typing_extensions import override

from embedfleet.arrays import Floats, Integers
from embedfleet.engine.compute.backend import Backend
from embedfleet.engine.compute.output import Output
from embedfleet.engine.compute.output_heads import compute_outputs, outputs_of
from embedfleet.engine.compute.pooling import splade
from embedfleet.engine.compute.resource_check import require_memory
from embedfleet.engine.files.weights import Weights
from embedfleet.engine.model.pooling_config import Pooling
from embedfleet.engine.model.spec import ModelSpec
from embedfleet.engine.torch.device import Fetched, open_device
from embedfleet.engine.torch.grids import exact_length, power_of_two
from embedfleet.engine.torch.inputs import PassInputs
from embedfleet.engine.torch.ops import TorchOps
from embedfleet.engine.torch.pass_shape import PassShape, fixed_shapes, pack
from embedfleet.engine.torch.recorded_passes import RecordedPasses
from embedfleet.engine.torch.sequences import Padded
from embedfleet.engine.torch.variable_length import VariableLength, choose, kernels_of_gpu
from embedfleet.engine.torch.weights import TorchWeights
from embedfleet.errors import Backend as BackendError
from embedfleet.errors import ModelError, OutOfMemory

_DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
_POOLINGS = (Pooling.CLS, Pooling.LAST_TOKEN, Pooling.MEAN)
# Larger passes compute for longer than the host takes to start their kernels.
_MOST_RECORDED_TOKENS, _LONGEST_RECORDED = 4096, 512


class TorchBackend(Backend):
    """Runs a model in PyTorch: on the CPU on one core per calling thread, on a GPU one pass at a time.

    On a GPU, the numbers of a pass are sent, and its results fetched, while another pass computes. So two threads
    should call `forward`.

    Args:
        spec: Model that `read_model` accepted.
        weights: Tensors of the model's files.
        device: Device that computes.
        precision: Number type that the model computes in; norms, rotations, means and shares of experts use float32.
        kernel: Kernel for attention over concatenated sequences; None to compute sequences of similar length together.
        padded: Function that chooses the padded lengths of these sequences.
        may_pool: Whether to pool on the device, where the model's pooling is one of `_POOLINGS`.
    """

    is_padding_free: ClassVar[bool] = True

    def __init__(
        self,
        spec: ModelSpec,
        weights: Weights,
        device: torch.device,
        precision: str,
        *,
        kernel: VariableLength | None = None,
        padded: Padded = exact_length,
        may_pool: bool = False,
    ) -> None:
        self.precision = precision
        self.passes_at_once = 1 if device.type == "cpu" else 2
        self.pools = may_pool and spec.kind == "embedding" and spec.pooling in _POOLINGS
        self._spec = spec
        self._weights = weights
        self._values = TorchWeights(device, _DTYPES[precision])
        self._kernel = kernel
        self._padded = padded
        self._device = open_device(device)
        self._recorded = RecordedPasses(self._device, self._compute_all)
        self._turn = threading.Lock()

    @classmethod
    def load(cls, spec: ModelSpec, *, device: str = "cpu", precision: str = "auto") -> "TorchBackend":
        """Open a model's weights, and on a GPU record its small passes.

        On the CPU a tensor is read when a pass first needs it.

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
        kernel = choose(kernels_of_gpu(), place, _DTYPES[precision])
        backend = cls(spec, weights, place, precision, kernel=kernel, padded=power_of_two, may_pool=True)
        backend.record(fixed_shapes(_MOST_RECORDED_TOKENS, min(_LONGEST_RECORDED, spec.max_input_length)))
        return backend

    @property
    def recorded_shapes(self) -> Sequence[PassShape]:
        """Shapes of the recorded passes, smallest first."""
        return self._recorded.shapes

    def record(self, shapes: Sequence[PassShape]) -> None:
        """Record passes of these shapes, as `RecordedPasses.record` does.

        Raises:
            ModelError: The weights do not fit the config.
        """
        with self._turn, torch.inference_mode(), self._device.computing():
            self._recorded.record(shapes)

    @override
    def forward(
        self, ids: Integers, types: Integers, lengths: Integers, outputs: tuple[Output, ...]
    ) -> tuple[Floats, ...]:
        held = np.minimum(types, self._spec.family.token_types - 1)
        try:
            with torch.inference_mode():
                rows = self._start(ids, held, lengths, outputs)()
        except ModelError:
            raise
        except (RuntimeError, MemoryError) as error:  # torch.OutOfMemoryError is a RuntimeError too
            if _is_out_of_memory(error):
                tokens = f"{len(ids)} tokens in {len(lengths)} sequences"
                raise OutOfMemory(f"Backend error: out of memory for {tokens}") from error
            raise BackendError(f"Backend error: {error}") from error
        return tuple(
            splade(row, np.arange(len(row))) if output is Output.WORDS else row
            for output, row in zip(outputs, rows, strict=True)
        )

    @override
    def check(self) -> None:
        """Do nothing, since no file is mapped."""

    def _start(self, ids: Integers, types: Integers, lengths: Integers, outputs: tuple[Output, ...]) -> Fetched:
        """Start a pass; returns the function that waits for its results."""
        recorded = self._recorded.find(lengths)
        if recorded is None and self._device.device.type == "cpu":
            return self._compute(ids, types, lengths, outputs, None)
        with self._turn, self._device.computing():
            return self._compute(ids, types, lengths, outputs, recorded)

    def _compute(
        self,
        ids: Integers,
        types: Integers,
        lengths: Integers,
        outputs: tuple[Output, ...],
        recorded: PassShape | None,
    ) -> Fetched:
        """Send the numbers of a pass, compute it, and begin to fetch its results."""
        shape = recorded or PassShape.of(lengths)
        numbers = self._device.send(pack(ids, types, lengths, shape))
        if recorded is None:
            found = self._run(PassInputs.of(numbers, shape, lengths), outputs)
        else:
            computed = dict(zip(self._every_output(), self._recorded.run(recorded, numbers), strict=True))
            found = [computed[output] for output in outputs]
        counts = [len(ids) if output.is_per_token else len(lengths) for output in outputs]
        return self._device.fetch([rows[:count] for rows, count in zip(found, counts, strict=True)])

    def _compute_all(self, numbers: Values, shape: PassShape) -> Sequence[Values]:
        """All outputs of a pass that is being recorded."""
        return self._run(PassInputs.of(numbers, shape, None), self._every_output())

    def _every_output(self) -> tuple[Output, ...]:
        every = outputs_of(self._spec)
        return (*every, Output.POOLED) if self.pools else every

    def _run(self, inputs: PassInputs, outputs: tuple[Output, ...]) -> list[Values]:
        ops = TorchOps(self._values, inputs, self._spec.family.first_position, kernel=self._kernel, padded=self._padded)
        sources = [Output.STATES if output is Output.POOLED else output for output in outputs]
        found = compute_outputs(self._spec, ops, self._weights, tuple(dict.fromkeys(sources)))
        if Output.WORDS in found:
            found[Output.WORDS] = ops.greatest(found[Output.WORDS])
        if Output.POOLED in outputs:
            assert self._spec.pooling is not None, "only embedders have a pooling"
            found[Output.POOLED] = ops.pooled(found[Output.STATES], self._spec.pooling)
        return [found[output] for output in outputs]


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
