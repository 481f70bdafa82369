"""ONNX Runtime, on one core of the CPU per calling thread: the one place that knows it."""

import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime

from embedfleet.arrays import Floats
from embedfleet.engine.onnx.cpu_features import has_int8, read_cpu_flags
from embedfleet.errors import Backend as BackendError
from embedfleet.errors import ModelError, OutOfMemory

if TYPE_CHECKING:
    from embedfleet.engine.onnx.graph import Graph

_INLINE_BYTES = 1024  # a tensor below this stays in the graph's own file


class OnnxSession:
    """A graph that can be run.

    Attributes:
        inputs: of what it takes, by name, the type, such as ``tensor(int64)``.
        outputs: of what it gives, by name, how many dimensions.
        output_types: of what it gives, by name, the type.
    """

    def __init__(self, session: onnxruntime.InferenceSession) -> None:
        self.inputs = {value.name: value.type for value in session.get_inputs()}
        self.outputs = {value.name: len(value.shape or ()) for value in session.get_outputs()}
        self.output_types = {value.name: value.type for value in session.get_outputs()}
        self._session = session

    @classmethod
    def of_graph(cls, graph: "Graph", place: Path, save_to: Path | None = None) -> "OnnxSession":
        """A session on a graph, with tensors in memory of its own.

        Args:
            graph: as `GraphBuilder.build` makes it.
            place: of the model, for errors.
            save_to: where the graph is written as the runtime has made it ready, with its tensors packed for the
                kernels in a file `packed_weights` beside it, for `of_file`. The tensors then go by way of another
                file in that folder, which is gone when that is done: in memory each would be there three times.

        Raises:
            ModelError: a tensor cannot be read, or the runtime refuses the graph or cannot write it.
            OSError: the tensors cannot be written.
            errors.OutOfMemory: there is no room for the weights.
        """
        options = _options()
        if save_to is None:
            return cls(_open_with(graph.model, options, place, graph.initializers.values()))
        options.optimized_model_filepath = str(save_to)
        for key, value in (
            ("save_external_prepacked_constant_initializers", "1"),
            ("optimized_model_external_initializers_file_name", packed_weights(save_to).name),
            ("optimized_model_external_initializers_min_size_in_bytes", str(_INLINE_BYTES)),
            ("model_external_initializers_file_folder_path", str(save_to.parent.resolve())),
        ):
            options.add_session_config_entry(f"session.{key}", value)
        weights = save_to.parent / graph.weights_file
        graph.initializers.write(weights)
        session = cls(_open(graph.model, options, place))
        weights.unlink()
        return session

    @classmethod
    def of_file(cls, file: Path) -> "OnnxSession":
        """A session on what `of_graph` saved, whose weights it maps.

        Args:
            file: that was saved.

        Raises:
            ModelError: the runtime refuses the file.
            errors.OutOfMemory: there is no room for it.
        """
        options = _options()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        return cls(_open(str(file), options, file))

    @classmethod
    def of_model(cls, model: str | bytes, place: Path, values: Mapping[str, np.ndarray[Any, Any]]) -> "OnnxSession":
        """A session on somebody else's model.

        Args:
            model: its file, or what is in it.
            place: of the model, for errors.
            values: of its tensors those that are not in the file itself.

        Raises:
            ModelError: the runtime refuses it.
            errors.OutOfMemory: there is no room for the weights.
        """
        return cls(_open_with(model, _options(), place, values))

    def run(self, outputs: Sequence[str], feeds: Mapping[str, np.ndarray[Any, Any]], what: str) -> list[Floats]:
        """Compute.

        Args:
            outputs: names of what is wanted.
            feeds: at least what the graph takes.
            what: is computed, for errors.

        Raises:
            errors.OutOfMemory: the memory does not suffice.
            errors.Backend: the runtime failed.
        """
        try:
            found: list[Floats] = self._session.run(list(outputs), {name: feeds[name] for name in self.inputs})
        except Exception as error:  # the runtime has no common type for its errors
            if _is_out_of_memory(error):
                raise OutOfMemory(f"Backend error: out of memory for {what}") from error
            raise BackendError(f"Backend error: {error}") from error
        return found


def runtime() -> str:
    """What decides how weights are packed: the runtime's version, and the processor with what it can do."""
    return f"onnxruntime {onnxruntime.__version__} {platform.machine()} {read_cpu_flags()}"


def packed_weights(file: Path) -> Path:
    """The file of weights beside a graph that `OnnxSession.of_graph` saved."""
    return file.with_name(f"{file.name}.weights")


def _options() -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    # The arena keeps the largest batch's memory for ever; without it a replica is a third smaller and no slower than
    # the noise.
    options.enable_cpu_mem_arena = False
    # A plan of one block for every shape that was ever seen: batches are hardly ever of a shape seen before, the blocks
    # are of all sizes, and what the allocator keeps of them is twice as much.
    options.enable_mem_pattern = False
    if not has_int8(read_cpu_flags()):
        # Products of signed and unsigned bytes overflow there, unless the runtime makes all of them unsigned.
        options.add_session_config_entry("session.x64quantprecision", "1")
    # Fatal alone: what it calls errors are exceptions here, and it writes to stderr itself, where a worker may block.
    options.log_severity_level = 4
    return options


def _open_with(
    model: bytes | str, options: onnxruntime.SessionOptions, place: Path, values: Mapping[str, np.ndarray[Any, Any]]
) -> onnxruntime.InferenceSession:
    """Hand tensors over, which the runtime copies: the caller's own may go once this returns."""
    if values:
        given = [onnxruntime.OrtValue.ortvalue_from_numpy(array) for array in values.values()]
        options.add_external_initializers(list(values), given)
    return _open(model, options, place)


def _open(model: bytes | str, options: onnxruntime.SessionOptions, place: Path) -> onnxruntime.InferenceSession:
    try:
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # as above
        if _is_out_of_memory(error):
            raise OutOfMemory(f"Backend error: out of memory while loading: {error}") from error
        raise ModelError(f"{place}: ONNX Runtime refuses the model: {error}") from error


def _is_out_of_memory(error: Exception) -> bool:
    """Whether an error means that memory could not be had.

    ONNX Runtime has no type for it: its allocators say "Failed to allocate memory" (core/framework/bfc_arena.cc) or
    pass on what C++ says, "bad alloc".
    """
    said = str(error).lower().replace("_", " ")
    return isinstance(error, MemoryError) or "failed to allocate" in said or "bad alloc" in said
