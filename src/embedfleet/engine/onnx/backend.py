"""ONNX Runtime behind the engine's interface: the model's own tensors in a graph that we build."""

import logging
from pathlib import Path
from typing import ClassVar

from embedfleet.arrays import Floats, Integers
from embedfleet.engine.compute.output import Output
from embedfleet.engine.model.spec import ModelSpec
from embedfleet.engine.onnx.packed_model import own_model, packed_model

log = logging.getLogger(__name__)


class OnnxBackend:
    """See `Backend`. A graph built from the model's own weights, on one core per calling thread.

    ONNX Runtime computes all nodes of a graph, whichever of its outputs a run asks for. So a graph has what can be
    asked of its model and no more, and several heads on one body must be cheap beside it.

    Args:
        spec: of a folder that `read_model` accepted.
        packed: folder where packed weights are kept for all replicas, see `packed_model`; None packs them into this
            process' own memory.
        int8: whether dense layers are computed in bytes, see `OnnxOps.dense`; how far that is from float32 is logged.

    Raises:
        ModelError: the weights do not fit the config, or the runtime refuses the graph.
        errors.OutOfMemory: there is no room for the weights.
    """

    padding_free: ClassVar[bool] = True

    def __init__(self, spec: ModelSpec, packed: Path | None = None, *, int8: bool = False) -> None:
        self.precision = "int8" if int8 else "float32"
        model = own_model(spec, int8=int8) if packed is None else packed_model(spec, packed, int8=int8)
        self._forward = model.forward
        self._files = model.files
        for error in model.errors:
            fields = {"output": error.output, "worst": error.worst, "mean": error.mean, "inputs": error.inputs}
            log.info("%s", error, extra=fields)

    def forward(
        self, ids: Integers, types: Integers, lengths: Integers, outputs: tuple[Output, ...]
    ) -> tuple[Floats, ...]:
        """See `Backend.forward`; with mapped weights that were written to before it was done, nothing is answered."""
        self.check()
        rows = self._forward(ids, types, lengths, outputs)
        self.check()
        return rows

    def check(self) -> None:
        """See `Backend.check`."""
        for file in self._files:
            file.check()
