"""The backend that runs a graph built from a model's own tensors in ONNX Runtime."""

import logging
from pathlib import Path
from typing import ClassVar

from typing_extensions import override

from embedfleet.arrays import Floats, Integers
from embedfleet.engine.compute.backend import Backend
from embedfleet.engine.compute.output import Output
from embedfleet.engine.model.spec import ModelSpec
from embedfleet.engine.onnx.model import OnnxModel, own_model
from embedfleet.engine.onnx.packed_model import packed_model

log = logging.getLogger(__name__)


class OnnxBackend(Backend):
    """Runs a graph built from the model's own weights, on one core per calling thread.

    ONNX Runtime computes all nodes of a graph, whichever outputs a run asks for. So a graph has only the outputs that
    its model supports, and several heads on one body must be cheap compared with the body.

    Args:
        model: Loaded model.
        precision: Number type of the dense layers, ``float32`` or ``int8``.
    """

    is_padding_free: ClassVar[bool] = True

    def __init__(self, model: OnnxModel, precision: str) -> None:
        self.precision = precision
        self._forward = model.forward
        self._files = model.files

    @classmethod
    def load(cls, spec: ModelSpec, packed_folder: Path | None = None, *, int8: bool = False) -> "OnnxBackend":
        """Load a model; for int8, log how far its outputs differ from float32.

        Args:
            spec: Model that `read_model` accepted.
            packed_folder: Folder where `packed_model` keeps packed weights for all replicas; None to pack them into
                this process' own memory.
            int8: Whether dense layers are computed in int8, as `OnnxOps.dense` describes.

        Raises:
            ModelError: The weights do not fit the config, or the runtime refuses the graph.
            errors.OutOfMemory: The memory does not suffice for the weights.
        """
        model = own_model(spec, int8=int8) if packed_folder is None else packed_model(spec, packed_folder, int8=int8)
        for item in model.deviations:
            fields = {"output": item.output, "worst": item.worst, "mean": item.mean, "inputs": item.inputs}
            log.info("%s", item, extra=fields)
        return cls(model, "int8" if int8 else "float32")

    @override
    def forward(
        self, ids: Integers, types: Integers, lengths: Integers, outputs: tuple[Output, ...]
    ) -> tuple[Floats, ...]:
        """Run the graph; rows are returned only if no mapped file of weights has changed by the end of the pass."""
        self.check()
        rows = self._forward(ids, types, lengths, outputs)
        self.check()
        return rows

    @override
    def check(self) -> None:
        for file in self._files:
            file.check()
