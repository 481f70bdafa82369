"""Sessions of ONNX Runtime, on one core of the CPU per calling thread; no other module imports the runtime."""

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

_INLINE_BYTES = 1024  # a smaller tensor stays in the graph's own file


class OnnxSession:
    """A graph that is loaded and can be run.

    Attributes:
        inputs: Type of each input by name, such as ``tensor(int64)``.
        outputs: Number of dimensions of each output by name.
        output_types: Type of each output by name.
    """

    def __init__(self, session: onnxruntime.InferenceSession) -> None:
        self.inputs = {value.name: value.type for value in session.get_inputs()}
        self.outputs = {value.name: len(value.shape or ()) for value in session.get_outputs()}
        self.output_types = {value.name: value.type for value in session.get_outputs()}
        self._session = session

    @classmethod
    def of_graph(cls, graph: "Graph", place: Path, save_to: Path | None = None) -> "OnnxSession":
        """Open a session on a graph, with the tensors in this process' own memory.

        Args:
            graph: Graph that `GraphBuilder.build` built.
            place: Path of the model, for error messages.
            save_to: File for the graph that the runtime has optimized, for `of_file`; None for none. The tensors,
                packed for the kernels, go to the file that `packed_weights` names. Before that, they are written to a
                temporary file in the same folder; otherwise each would exist three times in memory.

        Raises:
            ModelError: A tensor cannot be read, or the runtime refuses the graph or cannot write it.
            OSError: The tensors cannot be written.
            errors.OutOfMemory: The memory does not suffice for the weights.
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
        """Open a session on a graph that `of_graph` saved, and map its weights.

        Args:
            file: File of the graph.

        Raises:
            ModelError: The runtime refuses the file.
            errors.OutOfMemory: The memory does not suffice.
        """
        options = _options()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        return cls(_open(str(file), options, file))

    @classmethod
    def of_model(cls, model: str | bytes, place: Path, values: Mapping[str, np.ndarray[Any, Any]]) -> "OnnxSession":
        """Open a session on an exported model.

        Args:
            model: Path of its file, or the file's content.
            place: Path of the model, for error messages.
            values: Tensors that are not in the file itself, by name.

        Raises:
            ModelError: The runtime refuses the model.
            errors.OutOfMemory: The memory does not suffice for the weights.
        """
        return cls(_open_with(model, _options(), place, values))

    def run(self, outputs: Sequence[str], feeds: Mapping[str, np.ndarray[Any, Any]], what: str) -> list[Floats]:
        """Run the graph.

        Args:
            outputs: Names of the outputs to return.
            feeds: Values of at least all inputs, by name.
            what: Description of the inputs, for error messages.

        Raises:
            errors.OutOfMemory: The memory does not suffice.
            errors.Backend: The runtime failed.
        """
        try:
            found: list[Floats] = self._session.run(list(outputs), {name: feeds[name] for name in self.inputs})
        except Exception as error:  # the runtime's errors have no common type
            if _is_out_of_memory(error):
                raise OutOfMemory(f"Backend error: out of memory for {what}") from error
            raise BackendError(f"Backend error: {error}") from error
        return found


def runtime() -> str:
    """Describe all that decides how weights are packed: the runtime's version and the processor's features."""
    return f"onnxruntime {onnxruntime.__version__} {platform.machine()} {read_cpu_flags()}"


def packed_weights(file: Path) -> Path:
    """The path of the weights beside a graph that `OnnxSession.of_graph` saved."""
    return file.with_name(f"{file.name}.weights")


def _options() -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    # The arena would keep the memory of the largest batch for ever. Without it a replica takes less memory, and it is
    # about as fast.
    options.enable_cpu_mem_arena = False
    # The memory pattern plans one block for every shape seen so far. Batches hardly ever repeat a shape, so the blocks
    # have many sizes, and the allocator keeps more memory.
    options.enable_mem_pattern = False
    if not has_int8(read_cpu_flags()):
        # On such a processor, products of signed and unsigned bytes overflow unless the runtime makes all unsigned.
        options.add_session_config_entry("session.x64quantprecision", "1")
    # Log fatal events only: errors reach us as exceptions, and the runtime writes to stderr, where a worker may block.
    options.log_severity_level = 4
    return options


def _open_with(
    model: bytes | str, options: onnxruntime.SessionOptions, place: Path, values: Mapping[str, np.ndarray[Any, Any]]
) -> onnxruntime.InferenceSession:
    """Open a session with separate tensors, which the runtime copies, so that the caller may free them afterwards."""
    if values:
        given = [onnxruntime.OrtValue.ortvalue_from_numpy(array) for array in values.values()]
        options.add_external_initializers(list(values), given)
    return _open(model, options, place)


def _open(model: bytes | str, options: onnxruntime.SessionOptions, place: Path) -> onnxruntime.InferenceSession:
    try:
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the runtime's errors have no common type
        if _is_out_of_memory(error):
            raise OutOfMemory(f"Backend error: out of memory while loading: {error}") from error
        raise ModelError(f"{place}: ONNX Runtime refuses the model: {error}") from error


def _is_out_of_memory(error: Exception) -> bool:
    """Whether an error means that memory could not be allocated.

    ONNX Runtime has no type for this: its allocators say "Failed to allocate memory" (core/framework/bfc_arena.cc), or
    pass on "bad alloc" from C++.
    """
    said = str(error).lower().replace("_", " ")
    return isinstance(error, MemoryError) or "failed to allocate" in said or "bad alloc" in said
