"""A model's operations computed at once by PyTorch, on the CPU or a GPU; see `engine.ops` for what each is.

Dense layers run on the sequences laid end to end, without padding. Attention takes all sequences of one length at once,
so it needs no padding either, and never holds the scores of all pairs of a long sequence's tokens.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor as Values
from torch.nn import functional

from embedfleet.engine.layout import Integers, layout
from embedfleet.engine.ops import BLOCK, UNDIVIDED, Activation, Alibi, Attention, Linear, RelativeBias, Rotary
from embedfleet.engine.tensor import Tensor
from embedfleet.errors import ModelError

_ACTIVATIONS: Mapping[Activation, Callable[[Values], Values]] = {
    "gelu": functional.gelu,
    "gelu_tanh": lambda states: functional.gelu(states, approximate="tanh"),
    "relu": functional.relu,
    "silu": functional.silu,
    "tanh": torch.tanh,
}


class TorchWeights:
    """A model's tensors on a device, each read from its file when it is first asked for.

    Args:
        device: as PyTorch names it.
        dtype: that they are kept in.
    """

    def __init__(self, device: torch.device, dtype: torch.dtype) -> None:
        self.device = device
        self.dtype = dtype
        self._read: dict[Tensor, Values] = {}

    def __call__(self, tensor: Tensor) -> Values:
        """The values of a tensor.

        Raises:
            ModelError: they cannot be read, or one is not a finite number, or too great to be one in the type.
        """
        if tensor not in self._read:
            values = torch.from_numpy(tensor.read()).to(self.device, self.dtype)
            if not bool(values.isfinite().all()):
                raise ModelError(
                    f"{tensor.file}: tensor {tensor.name} has numbers that are too great for {self.dtype}",
                    "set precision to bfloat16 or float32",
                )
            self._read[tensor] = values
        return self._read[tensor]


class TorchOps:
    """`engine.ops.Ops` by values, for one pass over one batch.

    Args:
        weights: of the model.
        ids: token ids of all sequences, [tokens].
        types: token type ids, [tokens], below the family's number of them.
        lengths: tokens of each sequence, [sequences]; none is 0.
        first_position: the family's.
    """

    def __init__(
        self, weights: TorchWeights, ids: Integers, types: Integers, lengths: Integers, first_position: int
    ) -> None:
        self._weights = weights
        places = layout(lengths)
        self.ids = self._whole(ids)
        self.types = self._whole(types)
        self.positions = self._whole(places["places"] + first_position)
        self._places = self._whole(places["places"])
        self._first = self._whole(places["first"])
        self._last = self._whole(places["last"])
        self._lengths = self._whole(lengths)
        self._alike = _by_length(lengths)
        self._shared: dict[Hashable, Values] = {}

    def embed(self, table: Tensor, indices: Values) -> Values:
        """See `Ops.embed`."""
        return functional.embedding(indices, self._weights(table))

    def dense(self, states: Values, layer: Linear) -> Values:
        """See `Ops.dense`."""
        return functional.linear(
            states, self._weights(layer.weight), None if layer.bias is None else self._weights(layer.bias)
        )

    def add(self, left: Values, right: Values) -> Values:
        """See `Ops.add`."""
        return left + right

    def multiply(self, left: Values, right: Values) -> Values:
        """See `Ops.multiply`."""
        return left * right

    def scale(self, states: Values, factor: float) -> Values:
        """See `Ops.scale`."""
        return states * factor

    def activate(self, states: Values, activation: Activation) -> Values:
        """See `Ops.activate`."""
        return _ACTIVATIONS[activation](states)

    def layer_norm(self, states: Values, scale: Tensor, shift: Tensor | None, epsilon: float) -> Values:
        """See `Ops.layer_norm`; in float32 whatever the weights are in."""
        moved = None if shift is None else self._weights(shift).float()
        normed = functional.layer_norm(states.float(), scale.shape, self._weights(scale).float(), moved, epsilon)
        return normed.to(states.dtype)

    def rms_norm(self, states: Values, scale: Tensor, epsilon: float, *, above: float = 0.0) -> Values:
        """See `Ops.rms_norm`; in float32 whatever the weights are in."""
        rows = states.float().view(len(states), -1, scale.shape[0])
        normed = functional.rms_norm(rows, scale.shape, self._weights(scale).float() + above, epsilon)
        return normed.view_as(states).to(states.dtype)

    def split(self, states: Values, widths: Sequence[int]) -> tuple[Values, ...]:
        """See `Ops.split`."""
        return tuple(torch.split_with_sizes(states, list(widths), dim=-1))

    def rotate(self, states: Values, rotary: Rotary) -> Values:
        """See `Ops.rotate`; in float32 whatever the weights are in."""
        half = len(rotary.frequencies)
        turns = self._once(rotary, lambda: self._turns(rotary))
        cosines, sines = turns[0], turns[1]
        heads = states.float().view(len(states), -1, rotary.head_size)
        left, right, rest = torch.split_with_sizes(heads, [half, half, rotary.head_size - 2 * half], dim=-1)
        turned = torch.cat([left * cosines - right * sines, right * cosines + left * sines, rest], dim=-1)
        return turned.view_as(states).to(states.dtype)

    def attention(self, query: Values, key: Values, value: Values, attention: Attention) -> Values:
        """See `Ops.attention`."""
        size, mixed = attention.head_size, torch.empty_like(query)
        for length, tokens in self._alike.items():
            rows = self._once(("tokens", length), lambda tokens=tokens: self._whole(tokens))  # type: ignore[misc]
            parts = [
                part[rows].view(-1, length, part.shape[1] // size, size).transpose(1, 2) for part in (query, key, value)
            ]
            grid = self._attend(parts, attention, length)
            mixed[rows] = grid.transpose(1, 2).reshape(-1, query.shape[1])
        return mixed

    def first(self, states: Values) -> Values:
        """See `Ops.first`."""
        return states[self._first]

    def last(self, states: Values, pad: int | None = None) -> Values:
        """See `Ops.last`."""
        if pad is None:
            return states[self._last]
        places = torch.where(self.ids == pad, 0, self._places).float()
        greatest = torch.segment_reduce(places, "max", lengths=self._lengths)
        return states[self._first + greatest.long()]

    def mean(self, states: Values) -> Values:
        """See `Ops.mean`; summed in float32."""
        sums = torch.segment_reduce(states.float(), "sum", lengths=self._lengths)
        return (sums / self._lengths[:, None]).to(states.dtype)

    def _attend(self, parts: Sequence[Values], attention: Attention, length: int) -> Values:
        """Of grids [sequences, heads, length, size]; a long one by blocks where there is something to add to scores."""
        if attention.bias is None and attention.window is None:
            return _mix(parts, attention, None)
        if length <= UNDIVIDED:
            places = torch.arange(length, device=self._weights.device)
            bias = self._once((attention, length), lambda: self._make_bias(attention, places, places))
            return _mix(parts, attention, bias)
        mixed = torch.empty_like(parts[0])  # filled: results kept beside each other would break the heap into pieces
        for begin in range(0, length, BLOCK):
            end = min(begin + BLOCK, length)
            mixed[:, :, begin:end] = self._block(parts, attention, begin, end)
        return mixed

    def _block(self, parts: Sequence[Values], attention: Attention, begin: int, end: int) -> Values:
        query, key, value = parts
        low, high = attention.seen(begin, end, key.shape[2])
        places = torch.arange(key.shape[2], device=self._weights.device)
        bias = self._make_bias(attention, places[begin:end], places[low:high])
        return _mix((query[:, :, begin:end], key[:, :, low:high], value[:, :, low:high]), attention, bias)

    def _make_bias(self, attention: Attention, queries: Values, keys: Values) -> Values:
        """What is added to the scores of places, [1, 1 or heads, queries, keys]."""
        after = keys[None, :] - queries[:, None]
        bias = torch.zeros(1, *after.shape, device=self._weights.device)
        if isinstance(attention.bias, Alibi):
            slopes = torch.tensor(attention.bias.slopes, device=self._weights.device)
            bias = after.abs() * -slopes[:, None, None]
        elif isinstance(attention.bias, RelativeBias):
            bias = self._relative(attention.bias, after).permute(2, 0, 1)
        if attention.window is not None:
            bias = bias.masked_fill(after.abs() > attention.window, -torch.inf)
        if attention.causal:
            bias = bias.masked_fill(after > 0, -torch.inf)
        return bias.to(self._weights.dtype)[None]  # of four dimensions: with three PyTorch holds all scores

    def _relative(self, bias: RelativeBias, after: Values) -> Values:
        """The learnt scores of each pair's distance, [queries, keys, heads]."""
        farthest = bias.max_distance
        buckets = [bias.bucket(distance) for distance in range(-farthest, farthest + 1)]
        rows = torch.tensor(buckets, device=after.device)[after.clamp(-farthest, farthest) + farthest]
        return self._weights(bias.table).float()[rows]

    def _turns(self, rotary: Rotary) -> Values:
        """Cosine and sine of every token and pair, [2, tokens, 1, half]."""
        frequencies = torch.tensor(rotary.frequencies, device=self._weights.device)
        angles = self._places[:, None, None].float() * frequencies
        return torch.stack([angles.cos(), angles.sin()]) * rotary.scaling

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
        is_causal=attention.causal and bias is None,
        enable_gqa=attention.heads != attention.key_heads,
    )


def _by_length(lengths: Integers) -> dict[int, Integers]:
    """Of each length the tokens of the sequences that have it, in order."""
    starts = np.cumsum(lengths) - lengths
    return {
        int(length): (starts[lengths == length][:, None] + np.arange(length)).reshape(-1)
        for length in np.unique(lengths)
    }
