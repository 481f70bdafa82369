"""A model's operations, computed by PyTorch on the CPU or a GPU.

Dense layers compute all concatenated sequences at once, without padding. Attention is in `attention`.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor as Values
from torch.nn import functional
from typing_extensions import override

from embedfleet.engine.families.ops import Activation, Attention, Linear, Ops, Rotary
from embedfleet.engine.files.tensor import Tensor
from embedfleet.engine.model.pooling_config import Pooling
from embedfleet.engine.torch.attention import TorchAttention
from embedfleet.engine.torch.inputs import PassInputs
from embedfleet.engine.torch.recorded_passes import ShapeVaries
from embedfleet.engine.torch.sequences import Padded, Rows, Sequences
from embedfleet.engine.torch.variable_length import VariableLength
from embedfleet.engine.torch.weights import TorchWeights

_ACTIVATIONS: Mapping[Activation, Callable[[Values], Values]] = {
    "gelu": functional.gelu,
    "gelu_tanh": lambda states: functional.gelu(states, approximate="tanh"),
    "relu": functional.relu,
    "silu": functional.silu,
    "tanh": torch.tanh,
}


class TorchOps(Ops[Values]):
    """Computes the operations of one pass over one batch.

    Args:
        weights: Tensors of the model.
        inputs: Numbers of the pass.
        first_position: Position of a sequence's first token, as the family counts.
        kernel: Kernel for attention over concatenated sequences; None for none.
        padded: Function that chooses the padded lengths of sequences that no kernel computes.
    """

    def __init__(
        self,
        weights: TorchWeights,
        inputs: PassInputs,
        first_position: int,
        *,
        kernel: VariableLength | None,
        padded: Padded,
    ) -> None:
        self._weights = weights
        self._inputs = inputs
        self._sequences = Sequences(inputs, padded)
        self._attention = TorchAttention(weights, self._sequences, kernel)
        self.ids = inputs.ids
        self.types = inputs.types
        self.positions = inputs.places + first_position

    @override
    def embed(self, table: Tensor, indices: Values) -> Values:
        return functional.embedding(indices, self._weights(table))

    @override
    def dense(self, states: Values, layer: Linear) -> Values:
        return functional.linear(
            states, self._weights(layer.weight), None if layer.bias is None else self._weights(layer.bias)
        )

    @override
    def add(self, left: Values, right: Values) -> Values:
        return left + right

    @override
    def multiply(self, left: Values, right: Values) -> Values:
        return left * right

    @override
    def scale(self, states: Values, factor: float) -> Values:
        return states * factor

    @override
    def shift(self, states: Values, by: Tensor) -> Values:
        return states + self._weights(by)

    @override
    def activate(self, states: Values, activation: Activation) -> Values:
        return _ACTIVATIONS[activation](states)

    @override
    def layer_norm(self, states: Values, scale: Tensor, shift: Tensor | None, epsilon: float) -> Values:
        # in float32, whatever type the weights have
        moved = None if shift is None else self._weights.exact(shift)
        normed = functional.layer_norm(states.float(), scale.shape, self._weights.exact(scale), moved, epsilon)
        return normed.to(states.dtype)

    @override
    def rms_norm(self, states: Values, scale: Tensor, epsilon: float, *, offset: float = 0.0) -> Values:
        # in float32, whatever type the weights have
        rows = states.float().view(len(states), -1, scale.shape[0])
        normed = functional.rms_norm(rows, scale.shape, self._weights.exact(scale) + offset, epsilon)
        return normed.view_as(states).to(states.dtype)

    @override
    def split(self, states: Values, widths: Sequence[int]) -> tuple[Values, ...]:
        return tuple(torch.split_with_sizes(states, list(widths), dim=-1))

    @override
    def rotate(self, states: Values, rotary: Rotary) -> Values:
        # in float32, whatever type the weights have
        half = len(rotary.frequencies)
        turns = self._sequences.once(rotary, lambda: self._turns(rotary))
        cosines, sines = turns[0], turns[1]
        heads = states.float().view(len(states), -1, rotary.head_size)
        left, right, rest = torch.split_with_sizes(heads, [half, half, rotary.head_size - 2 * half], dim=-1)
        turned = torch.cat([left * cosines - right * sines, right * cosines + left * sines, rest], dim=-1)
        return turned.view_as(states).to(states.dtype)

    @override
    def attention(self, query: Values, key: Values, value: Values, attention: Attention) -> Values:
        return self._attention(query, key, value, attention)

    @override
    def convolve(self, states: Values, kernel: Linear, groups: int) -> Values:
        weight = self._weights(kernel.weight)
        bias = None if kernel.bias is None else self._weights(kernel.bias)

        def compute(rows: Rows, grids: Sequence[Values]) -> Values:
            grid = grids[0] if rows.is_real is None else grids[0].masked_fill(~rows.is_real[:, :, None], 0.0)
            columns = grid.transpose(1, 2)
            found = functional.conv1d(columns, weight, bias, padding=weight.shape[2] // 2, groups=groups)
            return found.transpose(1, 2)

        return self._sequences.by_grid([states], compute)

    @override
    def mix_experts(
        self, states: Values, scores: Values, most: int, experts: Sequence[Callable[[Values], Values]]
    ) -> Values:
        if self._inputs.known_lengths is None:
            raise ShapeVaries("the model routes each token to some experts")
        # shares in float32, whatever type the weights have
        shares, places = scores.float().softmax(dim=-1).topk(most, dim=-1)
        mixed = torch.zeros_like(states)
        for number, expert in enumerate(experts):
            rows, column = torch.where(places == number)
            if len(rows):
                share = shares[rows, column, None].to(states.dtype)
                mixed.index_add_(0, rows, expert(states[rows]) * share)
        return mixed

    @override
    def first(self, states: Values) -> Values:
        return states[self._inputs.first]

    @override
    def last(self, states: Values, pad: int | None = None) -> Values:
        if pad is None:
            return states[self._inputs.last]
        places = torch.where(self.ids == pad, 0, self._inputs.places).float()
        greatest = self._reduce(places, "max")
        return states[self._inputs.first + greatest.long()]

    @override
    def mean(self, states: Values) -> Values:
        # summed in float32, whatever type the weights have
        sums = self._reduce(states.float(), "sum")
        return (sums / self._inputs.lengths[:, None]).to(states.dtype)

    def pooled(self, states: Values, pooling: Pooling) -> Values:
        """Pool each sequence's states, as `compute.pooling.pool` does, in float32: → [sequences, width]."""
        match pooling:
            case Pooling.CLS:
                return self.first(states).float()
            case Pooling.LAST_TOKEN:
                return self.last(states).float()
            case Pooling.MEAN:
                return self.mean(states.float())
            case _:
                raise ValueError(f"{pooling} is computed on the host")

    def greatest(self, states: Values) -> Values:
        """Greatest positive number of each sequence's tokens in each column, or 0: → [sequences, width], float32."""
        return self._reduce(states.float(), "max")

    def _reduce(self, states: Values, reduction: str) -> Values:
        """Reduce each sequence's tokens, beginning with 0: [tokens, ...] → [sequences, ...]."""
        lengths = self._inputs.lengths
        # without checks, which would make the host wait for the device
        return torch.segment_reduce(states, reduction, lengths=lengths, unsafe=True, initial=0.0)

    def _turns(self, rotary: Rotary) -> Values:
        """Cosines and sines of each token's rotation angles, [2, tokens, 1, half]."""
        frequencies = self._weights.constant(rotary, lambda: torch.tensor(rotary.frequencies))
        angles = self._inputs.places[:, None, None].float() * frequencies
        return torch.stack([angles.cos(), angles.sin()]) * rotary.scaling
