"""The builder of an ONNX graph: its nodes, and its tensors, which are stored outside the graph.

A serialized graph is limited to 2 GB, so a model's tensors are not part of it. The graph states their places in a file,
which is written only if it is needed (`Initializers.write`).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from embedfleet.arrays import Floats
from embedfleet.engine.files.tensor import Tensor
from embedfleet.engine.onnx.initializers import Initializers, Values

MS = "com.microsoft"
"""The domain of ONNX Runtime's own operators (its ContribOperators.md)."""

_WEIGHTS_FILE = "weights"

_OPSET = (("", 17), (MS, 1))
_IR_VERSION = 9  # the version of opset 17, so that older runtimes load it
_TOKENS, _SEQUENCES = ["tokens"], ["sequences"]
# The inputs that a graph may have: token ids and types, and those of `compute.ragged_batch`. Each graph has only the
# inputs that its nodes use.
_INPUTS: dict[str, tuple[int, Sequence[str | int]]] = {
    "ids": (TensorProto.INT64, _TOKENS),
    "types": (TensorProto.INT64, _TOKENS),
    "positions": (TensorProto.INT64, _TOKENS),
    "places": (TensorProto.INT64, _TOKENS),
    "columns": (TensorProto.INT64, ["longest"]),
    "run_shapes": (TensorProto.INT64, ["runs", 3]),
    "run_starts": (TensorProto.INT64, ["runs", 1]),
    "run_ends": (TensorProto.INT64, ["runs", 1]),
    "uniform": (TensorProto.BOOL, []),
    "first": (TensorProto.INT64, _SEQUENCES),
    "last": (TensorProto.INT64, _SEQUENCES),
}


@dataclass(frozen=True, slots=True)
class Graph:
    """A serialized model and its tensors.

    Attributes:
        model: Serialized model.
        inputs: Names of its inputs.
        outputs: Names of its outputs.
        initializers: Tensors that are outside the model.
        weights_file: Name, without a folder, of the file in which the model expects them.
    """

    model: bytes
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    initializers: Initializers
    weights_file: str = _WEIGHTS_FILE


class GraphBuilder:
    """Collects nodes and tensors; methods that add one return the name of its output."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._tensors: dict[str, TensorProto] = {}
        self._initializers = Initializers()
        self._shared: dict[object, str] = {}
        self._count = 0

    def build(self, outputs: Sequence[str]) -> Graph:
        """Build the graph that computes ``outputs``, which are names that other methods returned."""
        used = set(_names(self._nodes))
        inputs = [helper.make_tensor_value_info(name, *how) for name, how in _INPUTS.items() if name in used]
        results = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
        graph = helper.make_graph(self._nodes, "model", inputs, results, list(self._tensors.values()))
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid(*opset) for opset in _OPSET])
        model.ir_version = _IR_VERSION
        names = tuple(value.name for value in inputs)
        return Graph(model.SerializeToString(), names, tuple(outputs), self._initializers)

    def add(self, operator: str, *inputs: str, domain: str = "", **attributes: Any) -> str:  # noqa: ANN401 - depends on the operator
        """Add a node with one output."""
        output = self._new_name()
        self._nodes.append(helper.make_node(operator, inputs, [output], domain=domain, **attributes))
        return output

    def split(self, states: str, widths: Sequence[int]) -> tuple[str, ...]:
        """Add a node that splits the last axis into parts of the given widths."""
        outputs = tuple(self._new_name() for _ in widths)
        self._nodes.append(helper.make_node("Split", [states, self.whole(*widths)], outputs, axis=-1))
        return outputs

    def greatest(self, values: str, count: int) -> tuple[str, str]:
        """Add a node that finds the ``count`` greatest values along the last axis, descending, and their indices."""
        outputs = (self._new_name(), self._new_name())
        self._nodes.append(helper.make_node("TopK", [values, self.whole(count)], outputs, axis=-1))
        return outputs

    def choose(self, condition: str, yes: Callable[[], str], no: Callable[[], str]) -> str:
        """Add a node that runs one of two branches; the nodes of a branch can be used only in that branch."""
        branches = [self._branch(yes), self._branch(no)]
        return self.add("If", condition, then_branch=branches[0], else_branch=branches[1])

    def each(self, count: str, do: Callable[[str], str]) -> str:
        """Add a loop that collects a sequence of results.

        Args:
            count: Name of the number of iterations.
            do: Function that adds the nodes of one iteration, given the name of the iteration's number. Those nodes
                can be used only in the loop.
        """
        empty = self.add("SequenceEmpty")
        outside, self._nodes = self._nodes, []
        turn, goes_on, before = (self._new_name() for _ in range(3))
        after, still = self.add("SequenceInsert", before, do(turn)), self.add("Identity", goes_on)
        inside, self._nodes = self._nodes, outside
        rows = helper.make_sequence_type_proto(helper.make_tensor_type_proto(TensorProto.FLOAT, None))
        scalar = helper.make_tensor_value_info
        inputs = [scalar(turn, TensorProto.INT64, []), scalar(goes_on, TensorProto.BOOL, [])]
        body = helper.make_graph(
            inside,
            f"loop_{after}",
            [*inputs, helper.make_value_info(before, rows)],
            [scalar(still, TensorProto.BOOL, []), helper.make_value_info(after, rows)],
        )
        return self.add("Loop", count, "", empty, body=body)

    def once(self, key: object, add: Callable[[], str]) -> str:
        """Call ``add`` only for a new ``key``, and return its output; the first call must not be inside a branch."""
        if key not in self._shared:
            self._shared[key] = add()
        return self._shared[key]

    def tensor(self, tensor: Tensor) -> str:
        """Add a tensor of a weights file, in float32."""
        name = f"{tensor.file.name}:{tensor.name}"
        if name not in self._initializers:
            self._beside(name, tensor, TensorProto.FLOAT)
        return name

    def converted(self, values: Values) -> str:
        """Add values that were computed at load; they are stored beside the tensors of the weights files."""
        name = self._new_name()
        self._beside(name, values, helper.np_dtype_to_tensor_dtype(values.dtype))
        return name

    def floats(self, values: Floats) -> str:
        """Add a float32 tensor inside the graph."""
        return self._inline(np.ascontiguousarray(values, dtype=np.float32))

    def number(self, value: float) -> str:
        """Add a float32 scalar inside the graph."""
        return self.once(value, lambda: self.floats(np.array(value)))

    def byte(self, value: int) -> str:
        """Add a uint8 scalar inside the graph."""
        return self.once(("byte", value), lambda: self._inline(np.array(value, dtype=np.uint8)))

    def integer(self, value: int) -> str:
        """Add an int64 scalar inside the graph."""
        return self.once(("integer", value), lambda: self._inline(np.array(value, dtype=np.int64)))

    def whole(self, *values: int) -> str:
        """Add a vector of int64 inside the graph."""
        return self.once(values, lambda: self._inline(np.array(values, dtype=np.int64)))

    def _beside(self, name: str, source: Tensor | Values, data_type: int) -> None:
        start, length = self._initializers.add(name, source)
        proto = TensorProto(name=name, data_type=data_type, dims=source.shape)
        proto.data_location = TensorProto.EXTERNAL
        for key, value in (("location", _WEIGHTS_FILE), ("offset", str(start)), ("length", str(length))):
            proto.external_data.add(key=key, value=value)
        self._tensors[name] = proto

    def _inline(self, values: np.ndarray[Any, Any]) -> str:
        name = self._new_name()
        self._tensors[name] = numpy_helper.from_array(values, name)
        return name

    def _branch(self, add: Callable[[], str]) -> onnx.GraphProto:
        outside, self._nodes = self._nodes, []
        output = add()
        inside, self._nodes = self._nodes, outside
        info = helper.make_tensor_value_info(output, TensorProto.FLOAT, None)
        return helper.make_graph(inside, f"branch_{output}", [], [info])

    def _new_name(self) -> str:
        self._count += 1
        return f"t{self._count}"


def _names(nodes: Sequence[onnx.NodeProto]) -> Iterator[str]:
    """Names of all inputs of nodes, those in branches included."""
    for node in nodes:
        yield from node.input
        for attribute in node.attribute:
            yield from _names(attribute.g.node)
