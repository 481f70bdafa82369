"""A model's operations as nodes of an ONNX graph, for ONNX Runtime on the CPU.

Nothing is padded. Most operations compute all concatenated sequences at once, [tokens, width]; attention is computed
run by run (`OnnxRuns`).
"""

from collections.abc import Callable, Sequence

import numpy as np
from typing_extensions import override

from embedfleet.engine.families.ops import Activation, Attention, Linear, Ops, Rotary
from embedfleet.engine.files.tensor import Tensor
from embedfleet.engine.onnx.attention import OnnxAttention
from embedfleet.engine.onnx.equal_length_runs import OnnxRuns
from embedfleet.engine.onnx.graph import MS, Graph, GraphBuilder
from embedfleet.engine.onnx.quantization import LARGEST, quantize

_ACTIVATIONS = {
    "gelu": ("Gelu", MS),
    "gelu_tanh": ("FastGelu", MS),
    "relu": ("Relu", ""),
    "silu": ("QuickGelu", MS),  # x sigmoid(alpha x)
    "tanh": ("Tanh", ""),
}
_ZERO = 128  # the byte that represents zero
_SMALLEST = 1e-30  # least magnitude of a token, so that the step of a token of zeros is not 0
_FEW_OUTPUTS = 16  # layers with fewer outputs stay in float32


class OnnxOps(Ops[str]):
    """Adds a node for each operation, and returns the name of its output; `build` makes the graph.

    Args:
        int8: Whether dense layers are computed in int8, as `dense` describes.
    """

    ids = "ids"
    types = "types"
    positions = "positions"

    def __init__(self, *, int8: bool = False) -> None:
        self._graph = GraphBuilder()
        self._int8 = int8
        self._runs = OnnxRuns(self._graph)
        self._attend = OnnxAttention(self._graph, self._runs)

    def build(self, outputs: Sequence[str]) -> Graph:
        """Build the graph that computes ``outputs``, which are names that operations returned."""
        return self._graph.build(outputs)

    @override
    def embed(self, table: Tensor, indices: str) -> str:
        return self._graph.add("Gather", self._graph.tensor(table), indices)

    @override
    def dense(self, states: str, layer: Linear) -> str:
        """Add a dense layer, in float32 or int8.

        Weights stay [out, in] as PyTorch stores them; Gemm transposes them when it packs them. In int8, weights have
        one step per output and states one step per token, so that a token's result does not depend on other tokens.
        Layers with few outputs, such as scoring heads, stay in float32: they take hardly any time.
        """
        if self._int8 and layer.weight.shape[0] >= _FEW_OUTPUTS:
            return self._dense_int8(states, layer)
        tensors = [layer.weight] if layer.bias is None else [layer.weight, layer.bias]
        return self._graph.add("Gemm", states, *map(self._graph.tensor, tensors), transB=1)

    @override
    def add(self, left: str, right: str) -> str:
        # We do not fuse this with a layer norm: ONNX Runtime computes SkipLayerNormalization one element at a time, but
        # Add and LayerNormalization in vectors, which is faster.
        return self._graph.add("Add", left, right)

    @override
    def multiply(self, left: str, right: str) -> str:
        return self._graph.add("Mul", left, right)

    @override
    def scale(self, states: str, factor: float) -> str:
        return self._graph.add("Mul", states, self._number(factor))

    @override
    def shift(self, states: str, by: Tensor) -> str:
        return self._graph.add("Add", states, self._graph.tensor(by))

    @override
    def activate(self, states: str, activation: Activation) -> str:
        operator, domain = _ACTIVATIONS[activation]
        attributes = {"alpha": 1.0} if activation == "silu" else {}
        return self._graph.add(operator, states, domain=domain, **attributes)

    @override
    def layer_norm(self, states: str, scale: Tensor, shift: Tensor | None, epsilon: float) -> str:
        tensors = [scale] if shift is None else [scale, shift]
        return self._graph.add(
            "LayerNormalization", states, *map(self._graph.tensor, tensors), axis=-1, epsilon=epsilon
        )

    @override
    def rms_norm(self, states: str, scale: Tensor, epsilon: float, *, offset: float = 0.0) -> str:
        # Both reshapes are free: they only rename memory.
        graph = self._graph
        rows = graph.add("Reshape", states, graph.whole(-1, scale.shape[0]))
        factors = graph.converted(scale.read() + np.float32(offset)) if offset else graph.tensor(scale)
        normed = graph.add("SimplifiedLayerNormalization", rows, factors, axis=-1, epsilon=epsilon)
        return graph.add("Reshape", normed, graph.add("Shape", states))

    @override
    def split(self, states: str, widths: Sequence[int]) -> tuple[str, ...]:
        return self._graph.split(states, widths)

    @override
    def rotate(self, states: str, rotary: Rotary) -> str:
        # The operator looks up cosines by the position in its input. We pass all tokens as one row, with tables of one
        # line per token: the line of the token's position in its sequence.
        graph, turned = self._graph, 2 * len(rotary.frequencies)
        cosines, sines = (self._turns(rotary, function) for function in ("Cos", "Sin"))
        heads = graph.add("Reshape", states, graph.whole(0, -1, rotary.head_size))
        pieces = [heads]
        if turned < rotary.head_size:
            pieces = list(graph.split(heads, (turned, rotary.head_size - turned)))
        row = graph.add("Unsqueeze", self._flat(pieces[0]), graph.whole(0))
        row = graph.add("RotaryEmbedding", row, graph.whole(0), cosines, sines, domain=MS)
        pieces[0] = graph.add("Reshape", row, graph.add("Shape", pieces[0]))
        return self._flat(pieces[0] if len(pieces) == 1 else graph.add("Concat", *pieces, axis=-1))

    @override
    def attention(self, query: str, key: str, value: str, attention: Attention) -> str:
        return self._attend(query, key, value, attention)

    @override
    def convolve(self, states: str, kernel: Linear, groups: int) -> str:
        graph, out, side = self._graph, kernel.weight.shape[0], kernel.weight.shape[2] // 2
        tensors = [kernel.weight] if kernel.bias is None else [kernel.weight, kernel.bias]

        def grid(grids: Sequence[str], _: str) -> str:
            columns = graph.add("Transpose", grids[0], perm=[0, 2, 1])
            found = graph.add("Conv", columns, *map(graph.tensor, tensors), pads=[side, side], group=groups)
            return graph.add("Reshape", graph.add("Transpose", found, perm=[0, 2, 1]), graph.whole(-1, out))

        return self._runs.compute([states], grid)

    @override
    def mix_experts(self, states: str, scores: str, most: int, experts: Sequence[Callable[[str], str]]) -> str:
        # Rounding may make a share 0; such a token does not reach the expert, which would add nothing to it.
        graph, zero = self._graph, self._number(0.0)
        shares, places = graph.greatest(graph.add("Softmax", scores, axis=-1), most)
        mixed = graph.add("Expand", zero, graph.add("Shape", states))
        for number, expert in enumerate(experts):
            own = graph.add("Where", graph.add("Equal", places, graph.integer(number)), shares, zero)
            share = graph.add("ReduceSum", own, graph.whole(1), keepdims=0)
            rows = graph.add("Reshape", graph.add("NonZero", share), graph.whole(-1))
            column = graph.add("Unsqueeze", graph.add("Gather", share, rows), graph.whole(1))
            found = graph.add("Mul", expert(graph.add("Gather", states, rows)), column)
            index = graph.add("Unsqueeze", rows, graph.whole(1))
            mixed = graph.add("ScatterND", mixed, index, found, reduction="add")
        return mixed

    @override
    def first(self, states: str) -> str:
        return self._graph.add("Gather", states, "first")

    @override
    def last(self, states: str, pad: int | None = None) -> str:
        if pad is None:
            return self._graph.add("Gather", states, "last")
        return self._graph.add("Gather", states, self._graph.once(("last", pad), lambda: self._last_but(pad)))

    @override
    def mean(self, states: str) -> str:
        return self._runs.compute(
            [states], lambda grids, _: self._graph.add("ReduceMean", grids[0], axes=[1], keepdims=0)
        )

    def _last_but(self, pad: int) -> str:
        """Index, among all tokens, of each sequence's last token whose id is not ``pad``, [sequences]."""
        graph = self._graph
        is_pad = graph.add("Equal", self.ids, graph.integer(pad))
        places = graph.add("Cast", graph.add("Where", is_pad, graph.integer(0), "places"), to=1)
        column = graph.add("Unsqueeze", places, graph.whole(1))
        greatest = self._runs.compute([column], lambda grids, _: graph.add("ReduceMax", grids[0], axes=[1], keepdims=0))
        in_sequence = graph.add("Cast", graph.add("Reshape", greatest, graph.whole(-1)), to=7)
        return graph.add("Add", "first", in_sequence)

    def _dense_int8(self, states: str, layer: Linear) -> str:
        """Add a dense layer in int8: an exact int32 product, times the steps of output and token, plus the bias.

        MatMulIntegerToFloat takes one step for all tokens. It gets 1; the tokens' own steps are multiplied in later.
        """
        graph = self._graph
        steps = graph.once(("steps", states), lambda: self._steps(states))
        rows = graph.once(("bytes", states), lambda: self._bytes(states, steps))
        whole, scales = quantize(layer.weight.read())
        tensors = (graph.converted(whole), self._number(1.0), graph.floats(scales))
        product = graph.add("MatMulIntegerToFloat", rows, *tensors, graph.byte(_ZERO), domain=MS)
        product = graph.add("Mul", product, steps)
        return product if layer.bias is None else graph.add("Add", product, graph.tensor(layer.bias))

    def _steps(self, states: str) -> str:
        """Each token's step, its greatest magnitude divided by 127: [tokens, width] → [tokens, 1]."""
        graph = self._graph
        greatest = graph.add("ReduceMax", states, axes=[-1])
        least = graph.add("Neg", graph.add("ReduceMin", states, axes=[-1]))
        magnitude = graph.add("Max", greatest, least, self._number(_SMALLEST))
        return graph.add("Mul", magnitude, self._number(1.0 / LARGEST))

    def _bytes(self, states: str, steps: str) -> str:
        """Quantize states around 128, since the runtime's fastest product is of unsigned with signed bytes."""
        graph = self._graph
        flat = graph.add("Reshape", steps, graph.whole(-1))
        zeros = graph.add("Expand", graph.byte(_ZERO), graph.add("Shape", flat))
        return graph.add("QuantizeLinear", states, flat, zeros, axis=0)

    def _flat(self, heads: str) -> str:
        """[tokens, heads, size] → [tokens, heads x size]."""
        return self._graph.add("Reshape", heads, self._graph.whole(0, -1))

    def _turns(self, rotary: Rotary, function: str) -> str:
        """Cosines or sines of every token's angles, [tokens, half]."""
        graph = self._graph

        def angles() -> str:
            places = graph.add("Unsqueeze", graph.add("Cast", "places", to=1), graph.whole(1))
            return graph.add("Mul", places, graph.floats(np.array([rotary.frequencies], dtype=np.float32)))

        def turns() -> str:
            values = graph.add(function, graph.once(("angles", rotary.frequencies), angles))
            return values if rotary.scaling == 1.0 else self.scale(values, rotary.scaling)

        return graph.once((function, rotary.frequencies, rotary.scaling), turns)

    def _number(self, value: float) -> str:
        return self._graph.number(value)
