"""DeBERTa's attention, whose scores have terms for content and position, computed by PyTorch in tiles."""

from collections.abc import Sequence

import torch
from torch import Tensor as Values
from torch.nn import functional

from embedfleet.engine.families.disentangled import TILE, Disentangled, Projection
from embedfleet.engine.families.ops import Attention
from embedfleet.engine.torch.weights import TorchWeights

_DEVICE_TILE = 4096  # queries per tile on a GPU, where many small kernels cost more than memory


class DisentangledScores:
    """Computes one layer's attention over a grid.

    Args:
        weights: Tensors of the model.
        attention: Heads of the attention.
        bias: Position terms of the scores.
    """

    def __init__(self, weights: TorchWeights, attention: Attention, bias: Disentangled) -> None:
        self._weights = weights
        self._attention = attention
        self._bias = bias
        key = ("buckets", bias.span, bias.exact, bias.farthest)
        self._buckets = weights.constant(key, lambda: torch.from_numpy(bias.rows()))

    def attend(self, parts: Sequence[Values], hidden: Values | None) -> Values:
        """Attention of grids [sequences, heads, length, size] in tiles.

        A tile is as many short sequences as fit into its number of queries, or some queries of a long sequence.

        Args:
            parts: Queries, keys and values.
            hidden: Bias that hides keys that are padding, [sequences, 1, 1, length]; None for no padding.
        """
        count, _, length, _ = parts[0].shape
        bias, tile = self._bias, TILE if self._weights.device.type == "cpu" else _DEVICE_TILE
        mixed, together = torch.empty_like(parts[0]), max(1, tile // length)
        for first in range(0, count, together):
            query, key, value = (part[first : first + together] for part in parts)
            for begin in range(0, length, tile):
                some = query[:, :, begin : begin + tile]
                added = self._of_queries(some, begin, length)
                if bias.queries is not None:
                    for start in range(0, length, tile):  # all keys at once would take quadratic memory
                        block = key[:, :, start : start + tile]
                        added[..., start : start + tile] += self._of_keys(bias.queries, block, begin - start, some)
                if hidden is not None:
                    added = added + hidden[first : first + together]
                mixed[first : first + together, :, begin : begin + tile] = functional.scaled_dot_product_attention(
                    *(some, key, value),
                    attn_mask=added,
                    enable_gqa=self._attention.heads != self._attention.key_heads,
                )
        return mixed

    def _of_queries(self, query: Values, begin: int, keys: int) -> Values:
        """Content-to-position scores of the queries from place ``begin`` on, [sequences, heads, queries, keys].

        One product with the table's rows computes them. The rows are in order of distance, from the farthest key before
        a query to the farthest one after it.
        """
        count = query.shape[2]
        if self._bias.keys is None:
            return query.new_zeros(*query.shape[:3], keys)
        rows = self._picked(begin - keys, keys + count).flip(0)
        return _aligned(query @ self._by_head(self._bias.keys, rows, query), keys).contiguous()

    def _of_keys(self, table: Projection, key: Values, begin: int, query: Values) -> Values:
        """Position-to-content scores, [sequences, heads, queries, keys].

        The first query stands ``begin`` places after the first key.
        """
        keys, count = key.shape[2], query.shape[2]
        rows = self._picked(begin + 1 - keys, keys + count)
        return _aligned(key @ self._by_head(table, rows, key), count).transpose(2, 3)

    def _picked(self, first: int, count: int) -> Values:
        """Row numbers in the tables for ``count`` distances from ``first`` on."""
        middle = len(self._buckets) // 2
        distances = torch.arange(first + middle, first + middle + count, device=self._buckets.device)
        return self._buckets[distances.clamp(0, 2 * middle)]

    def _by_head(self, table: Projection, rows: Values, like: Values) -> Values:
        """Rows of the table, split by head: [heads, head_size, rows]."""
        return self._weights(table)[rows].view(len(rows), like.shape[1], like.shape[3]).permute(1, 2, 0)


def _aligned(scores: Values, columns: int) -> Values:
    """Align rows that are shifted by one column each: [.., rows, rows + columns] → [.., rows, columns].

    The first row's result begins in column rows - 1, and each further row's begins one column earlier.
    """
    count, heads, rows, width = scores.shape
    strides = (heads * rows * width, rows * width, width - 1, 1)
    return scores.contiguous().as_strided((count, heads, rows, columns), strides, rows - 1)
