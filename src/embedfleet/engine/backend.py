"""What runs a model: the interface, and ONNX Runtime on the CPU behind it."""

from typing import Any, ClassVar, Protocol

import numpy as np
import onnxruntime

from embedfleet.dialects.tei import Floats
from embedfleet.engine.graph import build_graph
from embedfleet.engine.model import ModelSpec
from embedfleet.engine.weights import Weights
from embedfleet.errors import Backend as BackendError
from embedfleet.errors import ModelError, OutOfMemory

Integers = np.ndarray[Any, np.dtype[np.int64]]


class Backend(Protocol):
    """Runs one model; `forward` may be called by several threads at once.

    Attributes:
        padding_free: whether sequences of unlike length cost no more together than apart, so that batches need not
            be of like length.
    """

    padding_free: ClassVar[bool]

    def forward(self, ids: Integers, types: Integers, lengths: Integers) -> Floats:
        """Run sequences laid end to end.

        Args:
            ids: token ids of all sequences, [tokens].
            types: token type ids, [tokens].
            lengths: tokens of each sequence, [sequences]; none is 0.

        Returns:
            Hidden states [tokens, hidden] of an embedder, logits [sequences, labels] of a classifier or reranker.

        Raises:
            errors.OutOfMemory: the memory does not suffice for so many tokens; fewer may be tried.
            errors.Backend: the runtime failed.
        """


class OnnxBackend:
    """A graph built from the model's own weights, on one core per calling thread.

    Args:
        spec: of a folder that `read_model` accepted.

    Raises:
        ModelError: the weights do not fit the config, or the runtime refuses the graph.
        errors.OutOfMemory: there is no room for the weights.
    """

    padding_free: ClassVar[bool] = False  # attention has a grid of sequences by the longest

    def __init__(self, spec: ModelSpec) -> None:
        self._spec = spec
        weights = Weights(spec.weights_file)
        graph = build_graph(spec, weights)
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

    def forward(self, ids: Integers, types: Integers, lengths: Integers) -> Floats:
        """See `Backend.forward`."""
        feeds = _layout_one(len(ids)) if len(lengths) == 1 else _layout(lengths)
        feeds["ids"] = ids
        feeds["types"] = np.minimum(types, self._spec.token_types - 1)
        feeds["positions"] = feeds["positions"] + self._spec.position_offset
        try:
            (output,) = self._session.run(None, {name: feeds[name] for name in self._inputs})
        except Exception as error:  # as above
            if _is_out_of_memory(error):
                tokens = f"{len(ids)} tokens in {len(lengths)} sequences"
                raise OutOfMemory(f"Backend error: out of memory for {tokens}") from error
            raise BackendError(f"Backend error: {error}") from error
        result: Floats = output
        return result


def _is_out_of_memory(error: Exception) -> bool:
    """Whether an error means that memory could not be had.

    ONNX Runtime has no type for it: its allocators say "Failed to allocate memory" (core/framework/bfc_arena.cc) or
    pass on what C++ says, "bad alloc".
    """
    said = str(error).lower().replace("_", " ")
    return isinstance(error, MemoryError) or "failed to allocate" in said or "bad alloc" in said


def _layout(lengths: Integers) -> dict[str, np.ndarray[Any, Any]]:
    """Where tokens stand, as the graph's inputs of that name tell it.

    Args:
        lengths: tokens of each sequence, [sequences].

    Returns:
        ``positions`` within the sequence and ``back``, [tokens]; ``grid`` and ``mask``, [sequences, longest];
        ``first``, [sequences]; ``uniform``, a scalar.
    """
    count, longest = len(lengths), int(lengths.max())
    starts = np.cumsum(lengths) - lengths
    places = np.arange(int(lengths.sum()), dtype=np.int64) - np.repeat(starts, lengths)
    columns = np.arange(longest, dtype=np.int64)
    mask = columns < lengths[:, None]
    return {
        "positions": places,
        "grid": np.where(mask, starts[:, None] + columns, 0),
        "back": np.repeat(np.arange(count, dtype=np.int64) * longest, lengths) + places,
        "mask": mask.astype(np.int32),
        "uniform": np.array(bool(mask.all())),
        "first": starts,
    }


def _layout_one(tokens: int) -> dict[str, np.ndarray[Any, Any]]:
    """`_layout` of a lone sequence, at a fifth of the cost."""
    places = np.arange(tokens, dtype=np.int64)
    return {
        "positions": places,
        "grid": places[None],
        "back": places,
        "mask": np.ones((1, tokens), dtype=np.int32),
        "uniform": np.array(True),
        "first": np.zeros(1, dtype=np.int64),
    }
