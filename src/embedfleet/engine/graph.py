"""ONNX graphs built from a model's weights: one for BERT and RoBERTa's kin, with or without a classification head.

No token is padded in the dense layers, which are most of the work: they run on the sequences laid end to end,
[tokens, hidden]. Only attention needs a grid of [sequences, longest]; ``grid`` gathers tokens into it, ``back`` takes
them out again. Tensors stay in the safetensors file, all but those that an operator wants in another shape: the graph
names their place there, ONNX Runtime maps the file, and replicas on one host share its pages.

The operators of domain com.microsoft are ONNX Runtime's own (its ContribOperators.md).
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from embedfleet.dialects.tei import Floats
from embedfleet.engine.model import ModelSpec
from embedfleet.engine.weights import Tensor, Weights

_MS = "com.microsoft"
_OPSET = (("", 17), (_MS, 1))
_IR_VERSION = 9  # of opset 17, so that older runtimes load it
_ACTIVATIONS = {
    "gelu": ("Gelu", _MS),  # exact, by erf
    "gelu_new": ("FastGelu", _MS),  # tanh
    "gelu_pytorch_tanh": ("FastGelu", _MS),
    "relu": ("Relu", ""),
}
# Above this, attention over sequences of equal length takes the unmasked operator, which ONNX Runtime computes in
# tiles: the masked one holds all of heads x length x length scores. The choice costs a few percent on short texts.
_TILED_ABOVE = 512


@dataclass(frozen=True, slots=True)
class Graph:
    """A serialised model, and the tensors that could not be left in the file."""

    model: bytes
    inputs: tuple[str, ...]
    converted: dict[str, Floats] = field(repr=False)


def build_graph(spec: ModelSpec, weights: Weights) -> Graph:
    """The graph of a model.

    Output: hidden states [tokens, hidden] of an embedder, logits [sequences, labels] of a classifier.

    Raises:
        ModelError: a tensor is missing or not of the shape that the config asks for.
    """
    return _Builder(spec, weights).build()


class _Builder:
    """Collects nodes and tensors; every method that adds an operation returns the name of its output."""

    def __init__(self, spec: ModelSpec, weights: Weights) -> None:
        self._spec = spec
        self._weights = weights
        self._nodes: list[onnx.NodeProto] = []
        self._tensors: dict[str, TensorProto] = {}
        self._converted: dict[str, Floats] = {}
        self._tiled = spec.max_input_length > _TILED_ABOVE
        self._count = 0

    def build(self) -> Graph:
        """See `build_graph`."""
        states = self._embeddings()
        for number in range(self._spec.layers):
            states = self._layer(f"encoder.layer.{number}.", states)
        embeds = self._spec.kind == "embedding"
        output = states if embeds else self._classifier(states)
        width = self._spec.hidden_size if embeds else len(self._spec.id2label)
        inputs = self._inputs()
        graph = helper.make_graph(
            self._nodes,
            "model",
            inputs,
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["rows", width])],
            list(self._tensors.values()),
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid(*opset) for opset in _OPSET])
        model.ir_version = _IR_VERSION
        return Graph(model.SerializeToString(), tuple(value.name for value in inputs), self._converted)

    def _inputs(self) -> list[onnx.ValueInfoProto]:
        tokens, grid = ["tokens"], ["sequences", "longest"]
        shapes: dict[str, tuple[int, list[str]]] = {
            "ids": (TensorProto.INT64, tokens),
            "types": (TensorProto.INT64, tokens),
            "positions": (TensorProto.INT64, tokens),
            "grid": (TensorProto.INT64, grid),
            "back": (TensorProto.INT64, tokens),
            "mask": (TensorProto.INT32, grid),
        }
        if self._tiled:
            shapes["uniform"] = (TensorProto.BOOL, [])
        if self._spec.kind != "embedding":
            shapes["first"] = (TensorProto.INT64, ["sequences"])
        return [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in shapes.items()]

    def _embeddings(self) -> str:
        spec, body = self._spec, self._weights.body
        hidden = spec.hidden_size
        name = "embeddings."
        words = self._gather(body(f"{name}word_embeddings.weight", spec.vocabulary, hidden), "ids")
        places = self._gather(body(f"{name}position_embeddings.weight", spec.positions, hidden), "positions")
        types = self._gather(body(f"{name}token_type_embeddings.weight", spec.token_types, hidden), "types")
        return self._add_and_normalize(self._add("Add", words, types), places, f"{name}LayerNorm")

    def _layer(self, name: str, states: str) -> str:
        hidden, wide = self._spec.hidden_size, self._spec.intermediate_size
        grid = self._tiled_attention(name, states) if self._tiled else self._fused_attention(name, states)
        flat = self._add("Reshape", grid, self._constant("flat", [-1, hidden]))
        mixed = self._dense(f"{name}attention.output.dense", self._add("Gather", flat, "back"), hidden, hidden)
        states = self._add_and_normalize(mixed, states, f"{name}attention.output.LayerNorm")
        operator, domain = _ACTIVATIONS[self._spec.activation]
        inner = self._add(operator, self._dense(f"{name}intermediate.dense", states, hidden, wide), domain=domain)
        outer = self._dense(f"{name}output.dense", inner, wide, hidden)
        return self._add_and_normalize(outer, states, f"{name}output.LayerNorm")

    def _fused_attention(self, name: str, states: str) -> str:
        """Tokens into the grid, then projections and attention in one operator: a tenth faster on short texts.

        It wants the three projections as one matrix [in, 3 x out], so these weights are copied out of the file; the
        runtime packs them, as it does those it maps, and lets go of our copy.
        """
        hidden = self._spec.hidden_size
        weights, biases = [], []
        for part in ("query", "key", "value"):
            weights.append(
                self._weights.read(self._weights.body(f"{name}attention.self.{part}.weight", hidden, hidden)).T
            )
            biases.append(self._weights.read(self._weights.body(f"{name}attention.self.{part}.bias", hidden)))
        merged = self._inline(f"{name}projections", np.concatenate(weights, axis=1))
        bias = self._inline(f"{name}projections.bias", np.concatenate(biases))
        grid = self._add("Gather", states, "grid")
        return self._add("Attention", grid, merged, bias, "mask", domain=_MS, num_heads=self._spec.heads)

    def _tiled_attention(self, name: str, states: str) -> str:
        """Projections, tokens into the grid, and attention in tiles where no row is padded."""
        hidden = self._spec.hidden_size
        parts = [
            self._add("Gather", self._dense(f"{name}attention.self.{part}", states, hidden, hidden), "grid")
            for part in ("query", "key", "value")
        ]
        branches = []
        for inputs in (parts, [*parts, "", "mask"]):
            output = self._new_name()
            node = helper.make_node("MultiHeadAttention", inputs, [output], domain=_MS, num_heads=self._spec.heads)
            info = helper.make_tensor_value_info(output, TensorProto.FLOAT, None)
            branches.append(helper.make_graph([node], f"branch_{output}", [], [info]))
        return self._add("If", "uniform", then_branch=branches[0], else_branch=branches[1])

    def _classifier(self, states: str) -> str:
        """The head on each sequence's first token: BERT's pooler and classifier, or RoBERTa's dense and out_proj."""
        first = self._add("Gather", states, "first")
        hidden, labels = self._spec.hidden_size, len(self._spec.id2label)
        if self._spec.family == "bert":
            pooled = self._dense("pooler.dense", first, hidden, hidden)
            return self._dense("classifier", self._add("Tanh", pooled), hidden, labels, head=True)
        pooled = self._dense("classifier.dense", first, hidden, hidden, head=True)
        return self._dense("classifier.out_proj", self._add("Tanh", pooled), hidden, labels, head=True)

    def _dense(self, name: str, states: str, width: int, out: int, *, head: bool = False) -> str:
        """Weights stay [out, in] as PyTorch stores them; Gemm transposes while it packs them."""
        find = self._weights.head if head else self._weights.body
        weight, bias = find(f"{name}.weight", out, width), find(f"{name}.bias", out)
        return self._add("Gemm", states, self._tensor(weight), self._tensor(bias), transB=1)

    def _add_and_normalize(self, states: str, residual: str, name: str) -> str:
        """Two operators, [tokens, hidden] each: on the CPU they take a third of SkipLayerNormalization's time.

        ONNX Runtime computes that fused one an element at a time, LayerNormalization and Add in vectors.
        """
        scale, shift = (self._weights.body(f"{name}.{part}", self._spec.hidden_size) for part in ("weight", "bias"))
        inputs = (self._add("Add", states, residual), self._tensor(scale), self._tensor(shift))
        return self._add("LayerNormalization", *inputs, axis=-1, epsilon=self._spec.epsilon)

    def _gather(self, table: Tensor, indices: str) -> str:
        return self._add("Gather", self._tensor(table), indices)

    def _tensor(self, tensor: Tensor) -> str:
        """Name a tensor of the weights file; one that is not float32 there is read and handed over beside the graph."""
        if tensor.name not in self._tensors:
            proto = TensorProto(name=tensor.name, data_type=TensorProto.FLOAT, dims=tensor.shape)
            proto.data_location = TensorProto.EXTERNAL
            for key, value in (
                ("location", self._weights.file.name),
                ("offset", str(tensor.start)),
                ("length", str(4 * int(np.prod(tensor.shape)))),
            ):
                proto.external_data.add(key=key, value=value)
            self._tensors[tensor.name] = proto
            if not tensor.is_mappable:
                self._converted[tensor.name] = self._weights.read(tensor)
        return tensor.name

    def _inline(self, name: str, values: Floats) -> str:
        """A tensor within the graph itself."""
        self._tensors[name] = numpy_helper.from_array(np.ascontiguousarray(values), name)
        return name

    def _constant(self, name: str, values: list[int]) -> str:
        self._tensors[name] = helper.make_tensor(name, TensorProto.INT64, [len(values)], values)
        return name

    def _add(self, operator: str, *inputs: str, domain: str = "", **attributes: Any) -> str:  # noqa: ANN401 - what the operator takes
        output = self._new_name()
        self._nodes.append(helper.make_node(operator, inputs, [output], domain=domain, **attributes))
        return output

    def _new_name(self) -> str:
        self._count += 1
        return f"t{self._count}"
