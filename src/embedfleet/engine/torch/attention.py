"""Attention within each sequence, computed by PyTorch.

Where the device has a kernel for concatenated sequences that computes a layer's attention, one call computes all of
them. Otherwise sequences of similar length are computed side by side, which needs a call for each grid. Neither holds
the scores of all pairs of a long sequence's tokens.
"""

from collections.abc import Sequence

import torch
from torch import Tensor as Values
from torch.nn import functional

from embedfleet.engine.families.disentangled import Disentangled
from embedfleet.engine.families.ops import BLOCK, LONGEST_UNSPLIT, Alibi, Attention, RelativeBias
from embedfleet.engine.torch.disentangled import DisentangledScores
from embedfleet.engine.torch.sequences import Rows, Sequences
from embedfleet.engine.torch.variable_length import VariableLength
from embedfleet.engine.torch.weights import TorchWeights


class TorchAttention:
    """Computes `Ops.attention` for one pass.

    Args:
        weights: Tensors of the model.
        sequences: Sequences of the pass.
        kernel: Kernel for concatenated sequences; None for none.
    """

    def __init__(self, weights: TorchWeights, sequences: Sequences, kernel: VariableLength | None) -> None:
        self._weights = weights
        self._sequences = sequences
        self._kernel = kernel

    def __call__(self, query: Values, key: Values, value: Values, attention: Attention) -> Values:
        """Compute one attention; arguments and result are those of `Ops.attention`."""
        parts = (query, key, value)
        if self._kernel is not None and self._kernel.computes(attention):
            inputs = self._sequences.inputs
            heads = (part.view(len(part), -1, attention.head_size) for part in parts)
            mixed = self._kernel(*heads, boundaries=inputs.boundaries, longest=inputs.longest, attention=attention)
            return mixed.reshape(query.shape)

        def compute(rows: Rows, grids: Sequence[Values]) -> Values:
            size = attention.head_size
            by_head = [grid.view(*grid.shape[:2], -1, size).transpose(1, 2) for grid in grids]
            return self._attend(by_head, attention, rows).transpose(1, 2).flatten(2)

        return self._sequences.by_grid(parts, compute)

    def _attend(self, parts: Sequence[Values], attention: Attention, rows: Rows) -> Values:
        """Attention of grids [sequences, heads, length, size], in blocks for a long one with a bias or a window."""
        hidden, length = self._hidden(rows), rows.grid.length
        if isinstance(attention.bias, Disentangled):
            return DisentangledScores(self._weights, attention, attention.bias).attend(parts, hidden)
        if attention.is_plain:
            return mix(parts, attention, hidden)
        if attention.bias is None and attention.window is None and hidden is None:
            return mix(parts, attention, None, is_causal=True)
        if length <= LONGEST_UNSPLIT:
            places = torch.arange(length, device=self._weights.device)
            key = (attention, length)
            bias = self._sequences.once(key, lambda: self._make_bias(attention, places, places))
            return mix(parts, attention, _both(bias, hidden))
        mixed = torch.empty_like(parts[0])  # filled block by block: separate results would fragment the heap
        for begin in range(0, length, BLOCK):
            end = min(begin + BLOCK, length)
            mixed[:, :, begin:end] = self._block(parts, attention, hidden, begin, end)
        return mixed

    def _block(
        self, parts: Sequence[Values], attention: Attention, hidden: Values | None, begin: int, end: int
    ) -> Values:
        query, key, value = parts
        low, high = attention.key_range(begin, end, key.shape[2])
        places = torch.arange(key.shape[2], device=self._weights.device)
        bias = self._make_bias(attention, places[begin:end], places[low:high])
        seen = None if hidden is None else hidden[..., low:high]
        return mix((query[:, :, begin:end], key[:, :, low:high], value[:, :, low:high]), attention, _both(bias, seen))

    def _hidden(self, rows: Rows) -> Values | None:
        """Minus infinity for each key that is padding, else 0, [sequences, 1, 1, length]; None for no padding.

        A query that is padding may see no key at all. Its result is not a number, and is never used.
        """
        if rows.is_real is None:
            return None
        is_real = rows.is_real

        def make() -> Values:
            bias = torch.zeros(is_real.shape, dtype=self._weights.dtype, device=is_real.device)
            return bias.masked_fill(~is_real, -torch.inf)[:, None, None, :]

        return self._sequences.once(("hidden", rows.grid.length), make)

    def _make_bias(self, attention: Attention, queries: Values, keys: Values) -> Values:
        """The bias of the scores of queries and keys at these places, [1, 1 or heads, queries, keys]."""
        after = keys[None, :] - queries[:, None]
        bias = torch.zeros(1, *after.shape, device=self._weights.device)
        if isinstance(attention.bias, Alibi):
            alibi = attention.bias
            slopes = self._weights.constant(alibi, lambda: torch.tensor(alibi.slopes))
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

        def make() -> Values:
            return torch.tensor([bias.bucket(distance) for distance in range(-farthest, farthest + 1)])

        rows = self._weights.constant(bias, make)[after.clamp(-farthest, farthest) + farthest]
        return self._weights.exact(bias.table)[rows]


def mix(parts: Sequence[Values], attention: Attention, bias: Values | None, *, is_causal: bool = False) -> Values:
    """Scaled dot-product attention of grids [sequences, heads, length, size], with a bias of the scores."""
    query, key, value = parts
    return functional.scaled_dot_product_attention(
        *(query, key, value),
        attn_mask=bias,
        is_causal=is_causal,
        enable_gqa=attention.heads != attention.key_heads,
    )


def _both(bias: Values, hidden: Values | None) -> Values:
    return bias if hidden is None else bias + hidden
