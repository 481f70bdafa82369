"""A model's operations, computed by PyTorch on the CPU or a GPU.

Dense layers compute all concatenated sequences at once, without padding. Attention computes all sequences of one length
at once, so it needs no padding either. It never holds the scores of all pairs of a long sequence's tokens.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor as Values
from torch.nn import functional
from typing_extensions import override

from embedfleet.arrays import Integers
from embedfleet.engine.compute.ragged_batch import ragged_layout
from embedfleet.engine.families.disentangled import TILE, Disentangled, Projection
from embedfleet.engine.families.ops import (
    BLOCK,
    LONGEST_UNSPLIT,
    Activation,
    Alibi,
    Attention,
    Linear,
    Ops,
    RelativeBias,
    Rotary,
)
from embedfleet.engine.files.tensor import Tensor
from embedfleet.errors import ModelError

_ACTIVATIONS: Mapping[Activation, Callable[[Values], Values]] = {
    "gelu": functional.gelu,
    "gelu_tanh": lambda states: functional.gelu(states, approximate="tanh"),
    "relu": functional.relu,
    "silu": functional.silu,
    "tanh": torch.tanh,
}

_DEVICE_TILE = 4096  # queries per tile on a GPU, where many small kernels cost more than memory


class TorchWeights:
    """A model's tensors on a device, each read from its file at its first use.

    Args:
        device: Device that holds them.
        dtype: Number type that they are kept in.
    """

    def __init__(self, device: torch.device, dtype: torch.dtype) -> None:
        self.device = device
        self.dtype = dtype
        self._read: dict[Tensor | Projection, Values] = {}

    def __call__(self, tensor: Tensor | Projection) -> Values:
        """The values of a tensor, or of a projection, which is computed from tensors at its first use.

        Raises:
            ModelError: The values cannot be read, or one is not finite in the file or in the number type.
        """
        if tensor not in self._read:
            values = torch.from_numpy(tensor.read()).to(self.device, self.dtype)
            if not bool(values.isfinite().all()):
                raise ModelError(
                    f"{tensor.file}: tensor {tensor.name} has numbers that are too large for {self.dtype}",
                    "set precision to bfloat16 or float32",
                )
            self._read[tensor] = values
        return self._read[tensor]


class TorchOps(Ops[Values]):
    """Computes the operations of one pass over one batch.

    Args:
        weights: Tensors of the model.
        ids: Token ids of all sequences, [tokens].
        types: Token types, [tokens], below the family's number of types.
        lengths: Number of tokens of each sequence, [sequences], each at least 1.
        first_position: Position of a sequence's first token, as the family counts.
    """

    def __init__(
        self, weights: TorchWeights, ids: Integers, types: Integers, lengths: Integers, first_position: int
    ) -> None:
        self._weights = weights
        places = ragged_layout(lengths)
        self.ids = self._whole(ids)
        self.types = self._whole(types)
        self.positions = self._whole(places["places"] + first_position)
        self._places = self._whole(places["places"])
        self._first = self._whole(places["first"])
        self._last = self._whole(places["last"])
        self._lengths = self._whole(lengths)
        self._alike = _by_length(lengths)
        self._shared: dict[Hashable, Values] = {}

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
        moved = None if shift is None else self._weights(shift).float()
        normed = functional.layer_norm(states.float(), scale.shape, self._weights(scale).float(), moved, epsilon)
        return normed.to(states.dtype)

    @override
    def rms_norm(self, states: Values, scale: Tensor, epsilon: float, *, offset: float = 0.0) -> Values:
        # in float32, whatever type the weights have
        rows = states.float().view(len(states), -1, scale.shape[0])
        normed = functional.rms_norm(rows, scale.shape, self._weights(scale).float() + offset, epsilon)
        return normed.view_as(states).to(states.dtype)

    @override
    def split(self, states: Values, widths: Sequence[int]) -> tuple[Values, ...]:
        return tuple(torch.split_with_sizes(states, list(widths), dim=-1))

    @override
    def rotate(self, states: Values, rotary: Rotary) -> Values:
        # in float32, whatever type the weights have
        half = len(rotary.frequencies)
        turns = self._once(rotary, lambda: self._turns(rotary))
        cosines, sines = turns[0], turns[1]
        heads = states.float().view(len(states), -1, rotary.head_size)
        left, right, rest = torch.split_with_sizes(heads, [half, half, rotary.head_size - 2 * half], dim=-1)
        turned = torch.cat([left * cosines - right * sines, right * cosines + left * sines, rest], dim=-1)
        return turned.view_as(states).to(states.dtype)

    @override
    def attention(self, query: Values, key: Values, value: Values, attention: Attention) -> Values:
        size, mixed = attention.head_size, torch.empty_like(query)
        for length in self._alike:
            rows = self._rows(length)
            parts = [
                part[rows].view(-1, length, part.shape[1] // size, size).transpose(1, 2) for part in (query, key, value)
            ]
            grid = self._attend(parts, attention, length)
            mixed[rows] = grid.transpose(1, 2).reshape(-1, query.shape[1])
        return mixed

    @override
    def convolve(self, states: Values, kernel: Linear, groups: int) -> Values:
        weight = self._weights(kernel.weight)
        bias = None if kernel.bias is None else self._weights(kernel.bias)
        found = states.new_empty(len(states), len(weight))
        for length in self._alike:
            rows = self._rows(length)
            columns = states[rows].view(-1, length, states.shape[1]).transpose(1, 2)
            grid = functional.conv1d(columns, weight, bias, padding=weight.shape[2] // 2, groups=groups)
            found[rows] = grid.transpose(1, 2).reshape(-1, len(weight))
        return found

    @override
    def mix_experts(
        self, states: Values, scores: Values, most: int, experts: Sequence[Callable[[Values], Values]]
    ) -> Values:
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
        return states[self._first]

    @override
    def last(self, states: Values, pad: int | None = None) -> Values:
        if pad is None:
            return states[self._last]
        places = torch.where(self.ids == pad, 0, self._places).float()
        greatest = torch.segment_reduce(places, "max", lengths=self._lengths)
        return states[self._first + greatest.long()]

    @override
    def mean(self, states: Values) -> Values:
        # summed in float32, whatever type the weights have
        sums = torch.segment_reduce(states.float(), "sum", lengths=self._lengths)
        return (sums / self._lengths[:, None]).to(states.dtype)

    def _attend(self, parts: Sequence[Values], attention: Attention, length: int) -> Values:
        """Attention of grids [sequences, heads, length, size], in blocks for a long one with a bias or a window."""
        if attention.bias is None and attention.window is None:
            return _mix(parts, attention, None)
        if isinstance(attention.bias, Disentangled):
            return self._disentangled(parts, attention, attention.bias)
        if length <= LONGEST_UNSPLIT:
            places = torch.arange(length, device=self._weights.device)
            bias = self._once((attention, length), lambda: self._make_bias(attention, places, places))
            return _mix(parts, attention, bias)
        mixed = torch.empty_like(parts[0])  # filled block by block: separate results would fragment the heap
        for begin in range(0, length, BLOCK):
            end = min(begin + BLOCK, length)
            mixed[:, :, begin:end] = self._block(parts, attention, begin, end)
        return mixed

    def _block(self, parts: Sequence[Values], attention: Attention, begin: int, end: int) -> Values:
        query, key, value = parts
        low, high = attention.key_range(begin, end, key.shape[2])
        places = torch.arange(key.shape[2], device=self._weights.device)
        bias = self._make_bias(attention, places[begin:end], places[low:high])
        return _mix((query[:, :, begin:end], key[:, :, low:high], value[:, :, low:high]), attention, bias)

    def _disentangled(self, parts: Sequence[Values], attention: Attention, bias: Disentangled) -> Values:
        """Attention in tiles.

        A tile is as many short sequences as fit into its number of queries, or some queries of a long sequence.
        """
        count, _, length, _ = parts[0].shape
        buckets = self._once(("buckets", bias.span, bias.exact, bias.farthest), lambda: self._whole(bias.rows()))
        tile = TILE if self._weights.device.type == "cpu" else _DEVICE_TILE
        mixed, together = torch.empty_like(parts[0]), max(1, tile // length)
        for first in range(0, count, together):
            query, key, value = (part[first : first + together] for part in parts)
            for begin in range(0, length, tile):
                some = query[:, :, begin : begin + tile]
                added = self._of_queries(bias, buckets, some, begin, length)
                if bias.queries is not None:
                    for start in range(0, length, tile):  # all keys at once would take quadratic memory
                        block = key[:, :, start : start + tile]
                        added[..., start : start + tile] += self._of_keys(
                            bias.queries, buckets, block, begin - start, some
                        )
                mixed[first : first + together, :, begin : begin + tile] = _mix((some, key, value), attention, added)
        return mixed

    def _of_queries(self, bias: Disentangled, buckets: Values, query: Values, begin: int, keys: int) -> Values:
        """Content-to-position scores of the queries from place ``begin`` on, [sequences, heads, queries, keys].

        One product with the table's rows computes them. The rows are in order of distance, from the farthest key before
        a query to the farthest one after it.
        """
        count = query.shape[2]
        if bias.keys is None:
            return query.new_zeros(*query.shape[:3], keys)
        rows = self._picked(buckets, begin - keys, keys + count).flip(0)
        return _aligned(query @ self._by_head(bias.keys, rows, query), keys).contiguous()

    def _of_keys(self, table: Projection, buckets: Values, key: Values, begin: int, query: Values) -> Values:
        """Position-to-content scores, [sequences, heads, queries, keys].

        The first query stands ``begin`` places after the first key.
        """
        keys, count = key.shape[2], query.shape[2]
        rows = self._picked(buckets, begin + 1 - keys, keys + count)
        return _aligned(key @ self._by_head(table, rows, key), count).transpose(2, 3)

    def _picked(self, buckets: Values, first: int, count: int) -> Values:
        """Row numbers in the tables for ``count`` distances from ``first`` on."""
        middle = len(buckets) // 2
        distances = torch.arange(first + middle, first + middle + count, device=buckets.device)
        return buckets[distances.clamp(0, 2 * middle)]

    def _by_head(self, table: Projection, rows: Values, like: Values) -> Values:
        """Rows of the table, split by head: [heads, head_size, rows]."""
        return self._weights(table)[rows].view(len(rows), like.shape[1], like.shape[3]).permute(1, 2, 0)

    def _make_bias(self, attention: Attention, queries: Values, keys: Values) -> Values:
        """The bias of the scores of queries and keys at these places, [1, 1 or heads, queries, keys]."""
        after = keys[None, :] - queries[:, None]
        bias = torch.zeros(1, *after.shape, device=self._weights.device)
        if isinstance(attention.bias, Alibi):
            slopes = torch.tensor(attention.bias.slopes, device=self._weights.device)
            bias = after.abs() * -slopes[:, None, None]
        elif isinstance(attention.bias, RelativeBias):
            bias = self._relative(attention.bias, after).permute(2, 0, 1)
        if attention.window is not None:
            bias = bias.masked_fill(after.abs() > attention.window, -torch.inf)
        if attention.is_causal:
            bias = bias.masked_fill(after > 0, -torch.inf)
        return bias.to(self._weights.dtype)[None]  # with only three dimensions PyTorch would hold all scores

    def _relative(self, bias: RelativeBias, after: Values) -> Values:
        """The learned bias of each pair's distance, [queries, keys, heads]."""
        farthest = bias.max_distance
        buckets = [bias.bucket(distance) for distance in range(-farthest, farthest + 1)]
        rows = torch.tensor(buckets, device=after.device)[after.clamp(-farthest, farthest) + farthest]
        return self._weights(bias.table).float()[rows]

    def _turns(self, rotary: Rotary) -> Values:
        """Cosines and sines of each token's rotation angles, [2, tokens, 1, half]."""
        frequencies = torch.tensor(rotary.frequencies, device=self._weights.device)
        angles = self._places[:, None, None].float() * frequencies
        return torch.stack([angles.cos(), angles.sin()]) * rotary.scaling

    def _rows(self, length: int) -> Values:
        """The places of the tokens of all sequences of that length."""
        return self._once(("tokens", length), lambda: self._whole(self._alike[length]))

    def _whole(self, values: Integers) -> Values:
        return torch.from_numpy(values).to(self._weights.device)

    def _once(self, key: Hashable, make: Callable[[], Values]) -> Values:
        if key not in self._shared:
            self._shared[key] = make()
        return self._shared[key]


def _mix(parts: Sequence[Values], attention: Attention, bias: Values | None) -> Values:
    return functional.scaled_dot_product_attention(
        parts[0],
        parts[1],
        parts[2],
        attn_mask=bias,
        is_causal=attention.is_causal and bias is None,
        enable_gqa=attention.heads != attention.key_heads,
    )


def _aligned(scores: Values, columns: int) -> Values:
    """Align rows that are shifted by one column each: [.., rows, rows + columns] → [.., rows, columns].

    The first row's result begins in column rows - 1, and each further row's begins one column earlier.
    """
    count, heads, rows, width = scores.shape
    strides = (heads * rows * width, rows * width, width - 1, 1)
    return scores.contiguous().as_strided((count, heads, rows, columns), strides, rows - 1)


def _by_length(lengths: Integers) -> dict[int, Integers]:
    """For each length, the places of the tokens of all sequences of that length, in order."""
    starts = np.cumsum(lengths) - lengths
    return {
        int(length): (starts[lengths == length][:, None] + np.arange(length)).reshape(-1)
        for length in np.unique(lengths)
    }
