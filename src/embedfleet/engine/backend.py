"""What runs a model: the interface, and ONNX Runtime on the CPU behind it."""

from typing import ClassVar, Protocol

import numpy as np
import onnxruntime

from embedfleet.dialects.tei import Floats
from embedfleet.engine.heads import compute, outputs_of
from embedfleet.engine.layout import Integers, layout
from embedfleet.engine.model import ModelSpec
from embedfleet.engine.onnx_graph import Graph
from embedfleet.engine.onnx_ops import OnnxOps
from embedfleet.engine.output import Output
from embedfleet.engine.pooling import splade
from embedfleet.engine.weights import Weights
from embedfleet.errors import Backend as BackendError
from embedfleet.errors import ModelError, OutOfMemory

__all__ = ["Backend", "Integers", "OnnxBackend", "Output"]


class Backend(Protocol):
    """Runs one model; `forward` may be called by several threads at once.

    Attributes:
        precision: the type of number that it computes in, as ``/info`` calls it.
        padding_free: whether sequences of unlike length cost no more together than apart, so that batches need not
            be of like length.
    """

    precision: str
    padding_free: ClassVar[bool]

    def forward(
        self, ids: Integers, types: Integers, lengths: Integers, outputs: tuple[Output, ...]
    ) -> tuple[Floats, ...]:
        """Run sequences laid end to end, once for all that is asked.

        Args:
            ids: token ids of all sequences, [tokens].
            types: token type ids, [tokens].
            lengths: tokens of each sequence, [sequences]; none is 0.
            outputs: some of those that `heads.outputs_of` names.

        Returns:
            Of each of ``outputs`` its rows, in their order; see `Output` for the shapes.

        Raises:
            errors.OutOfMemory: the memory does not suffice for so many tokens; fewer may be tried.
            errors.Backend: the runtime failed.
        """


class OnnxBackend:
    """A graph built from the model's own weights, on one core per calling thread.

    ONNX Runtime computes all nodes of a graph, whichever of its outputs a run asks for. So a graph has what can be
    asked of its model and no more, and several heads on one body must be cheap beside it.

    Args:
        spec: of a folder that `read_model` accepted.

    Raises:
        ModelError: the weights do not fit the config, or the runtime refuses the graph.
        errors.OutOfMemory: there is no room for the weights.
    """

    precision = "float32"
    padding_free: ClassVar[bool] = False  # attention has a grid of sequences by the longest

    def __init__(self, spec: ModelSpec) -> None:
        self._family = spec.family
        graph, self._outputs = build_graph(spec)
        self._inputs = set(graph.inputs)
        # Kept: the session computes with these arrays' memory.
        self._converted = {name: onnxruntime.OrtValue.ortvalue_from_numpy(a) for name, a in graph.converted.items()}
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        # The arena keeps the largest batch's memory for ever; without it a replica is a third smaller and no slower
        # than the noise.
        options.enable_cpu_mem_arena = False
        options.log_severity_level = 3
        options.add_session_config_entry(
            "session.model_external_initializers_file_folder_path", str(spec.folder.resolve())
        )
        if self._converted:
            options.add_external_initializers(list(self._converted), list(self._converted.values()))
        try:
            self._session = onnxruntime.InferenceSession(graph.model, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # the runtime has no common type for its errors
            if _is_out_of_memory(error):
                raise OutOfMemory(f"Backend error: out of memory while loading: {error}") from error
            raise ModelError(f"{spec.folder}: ONNX Runtime refuses the model: {error}") from error

    def forward(
        self, ids: Integers, types: Integers, lengths: Integers, outputs: tuple[Output, ...]
    ) -> tuple[Floats, ...]:
        """See `Backend.forward`."""
        feeds = layout(lengths)
        feeds["ids"] = ids
        feeds["types"] = np.minimum(types, self._family.token_types - 1)
        feeds["positions"] = feeds["places"] + self._family.first_position
        try:
            rows = self._session.run(
                [self._outputs[output] for output in outputs], {name: feeds[name] for name in self._inputs}
            )
        except Exception as error:  # as above
            if _is_out_of_memory(error):
                tokens = f"{len(ids)} tokens in {len(lengths)} sequences"
                raise OutOfMemory(f"Backend error: out of memory for {tokens}") from error
            raise BackendError(f"Backend error: {error}") from error
        return tuple(
            splade(row, feeds["first"]) if output is Output.WORDS else row
            for output, row in zip(outputs, rows, strict=True)
        )


def build_graph(spec: ModelSpec) -> tuple[Graph, dict[Output, str]]:
    """The graph of a model, and the names in it of what can be asked.

    Raises:
        ModelError: a tensor is missing or not of the shape that the config asks for.
    """
    weights = Weights(spec.weights_file, spec.family.anchor)
    ops = OnnxOps(weights, spec.max_input_length)
    outputs = compute(spec, ops, weights, outputs_of(spec))
    return ops.build(list(outputs.values())), outputs


def _is_out_of_memory(error: Exception) -> bool:
    """Whether an error means that memory could not be had.

    ONNX Runtime has no type for it: its allocators say "Failed to allocate memory" (core/framework/bfc_arena.cc) or
    pass on what C++ says, "bad alloc".
    """
    said = str(error).lower().replace("_", " ")
    return isinstance(error, MemoryError) or "failed to allocate" in said or "bad alloc" in said
