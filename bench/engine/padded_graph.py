"""The ordinary ONNX graph of a BERT, with padding, in the operators that exporters write. Pure.

Inputs are ``input_ids``, ``attention_mask`` and ``token_type_ids``, [sequences, longest]; the output is
``last_hidden_state``, [sequences, longest, hidden]. ONNX Runtime fuses what it knows when it loads the graph.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

Array = np.ndarray[Any, Any]
_OPSET, _IR = 17, 8
INPUTS = ("input_ids", "attention_mask", "token_type_ids")
OUTPUT = "last_hidden_state"


@dataclass(frozen=True, slots=True)
class BertShape:
    """What the graph needs of a BERT's config: layers, attention heads, epsilon of the norms."""

    layers: int
    heads: int
    epsilon: float


class _Builder:
    """Nodes and initializers of a graph under construction."""

    def __init__(self, tensors: Mapping[str, Array], shape: BertShape) -> None:
        self.nodes: list[NodeProto] = []
        self.values: dict[str, Array] = {}
        self._tensors = tensors
        self._shape = shape

    def add(self, kind: str, *inputs: str | Array, name: str = "", **attributes: Any) -> str:  # noqa: ANN401 - attributes have many types
        """Add a node; an input is a name or a constant. Returns the name of its output."""
        names = [one if isinstance(one, str) else self.constant(one) for one in inputs]
        name = name or f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, names, [name], **attributes))
        return name

    def constant(self, value: Array) -> str:
        """Add a constant; returns its name."""
        name = f"c{len(self.values)}"
        self.values[name] = value
        return name

    def dense(self, states: str, name: str) -> str:
        """Add a product and a bias."""
        weight = np.ascontiguousarray(self._tensors[f"{name}.weight"].T)
        return self.add("Add", self.add("MatMul", states, weight), self._tensors[f"{name}.bias"])

    def norm(self, states: str, name: str, output: str = "") -> str:
        """Add a layer normalisation."""
        weight, bias = (self._tensors[f"{name}.{part}"] for part in ("weight", "bias"))
        return self.add("LayerNormalization", states, weight, bias, name=output, epsilon=self._shape.epsilon)

    def heads(self, states: str, axes: list[int]) -> str:
        """Split states into attention heads, [sequences, heads, longest, size] in the order of ``axes``."""
        width = self._tensors["embeddings.LayerNorm.weight"].shape[0]
        shape = np.array([0, 0, self._shape.heads, width // self._shape.heads], np.int64)
        return self.add("Transpose", self.add("Reshape", states, shape), perm=axes)

    def attention(self, states: str, mask: str, name: str) -> str:
        """Add self-attention, without its output layer."""
        width = self._tensors["embeddings.LayerNorm.weight"].shape[0]
        query, key, value = (self.dense(states, f"{name}.self.{part}") for part in ("query", "key", "value"))
        scores = self.add("MatMul", self.heads(query, [0, 2, 1, 3]), self.heads(key, [0, 2, 3, 1]))
        scaled = self.add("Div", scores, np.array(sqrt(width // self._shape.heads), np.float32))
        shares = self.add("Softmax", self.add("Add", scaled, mask), axis=-1)
        mixed = self.add("Transpose", self.add("MatMul", shares, self.heads(value, [0, 2, 1, 3])), perm=[0, 2, 1, 3])
        return self.add("Reshape", mixed, np.array([0, 0, width], np.int64))

    def gelu(self, states: str) -> str:
        """Add GELU by the error function."""
        erf = self.add("Erf", self.add("Div", states, np.array(sqrt(2), np.float32)))
        whole = self.add("Mul", states, self.add("Add", erf, np.array(1, np.float32)))
        return self.add("Mul", whole, np.array(0.5, np.float32))

    def layer(self, states: str, mask: str, number: int, output: str) -> str:
        """Add one layer of the encoder."""
        name = f"encoder.layer.{number}"
        attended = self.dense(self.attention(states, mask, f"{name}.attention"), f"{name}.attention.output.dense")
        middle = self.norm(self.add("Add", attended, states), f"{name}.attention.output.LayerNorm")
        inner = self.gelu(self.dense(middle, f"{name}.intermediate.dense"))
        return self.norm(
            self.add("Add", self.dense(inner, f"{name}.output.dense"), middle), f"{name}.output.LayerNorm", output
        )


def padded_graph(tensors: Mapping[str, Array], shape: BertShape) -> ModelProto:
    """Build the graph.

    Args:
        tensors: Tensors of the model, by their names in its safetensors file.
        shape: Shape of the model.
    """
    graph = _Builder(tensors, shape)
    ids, mask, types = INPUTS
    words = graph.add("Gather", tensors["embeddings.word_embeddings.weight"], ids)
    kinds = graph.add("Gather", tensors["embeddings.token_type_embeddings.weight"], types)
    length = graph.add("Gather", graph.add("Shape", ids), np.array([1], np.int64))
    table, zero = tensors["embeddings.position_embeddings.weight"], np.array([0], np.int64)
    places = graph.add("Unsqueeze", graph.add("Slice", table, zero, length, zero), zero)
    states = graph.norm(graph.add("Add", graph.add("Add", words, kinds), places), "embeddings.LayerNorm")
    real = graph.add("Cast", graph.add("Unsqueeze", mask, np.array([1, 2], np.int64)), to=TensorProto.FLOAT)
    hidden = graph.add("Sub", np.array(1, np.float32), real)
    bias = graph.add("Mul", hidden, np.array(np.finfo(np.float32).min, np.float32))
    for number in range(shape.layers):
        states = graph.layer(states, bias, number, OUTPUT if number == shape.layers - 1 else "")
    given = [helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "length"]) for name in INPUTS]
    out = helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["batch", "length", "hidden"])
    values = [numpy_helper.from_array(value, name) for name, value in graph.values.items()]
    whole = helper.make_graph(graph.nodes, "bert", given, [out], values)
    return helper.make_model(whole, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR)
