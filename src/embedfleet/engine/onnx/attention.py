"""Attention as nodes of an ONNX graph, in memory that grows linearly with the tokens.

ONNX Runtime computes plain attention in tiles: bidirectional, without a window and without a bias. For any other
attention its operator holds all scores, heads x length x length. So a long sequence is split into blocks of queries.
Each block has only the keys that its queries attend to: those near the block for a window, those before its end for a
causal model.
"""

from collections.abc import Sequence

import numpy as np

from embedfleet.engine.families.disentangled import Disentangled
from embedfleet.engine.families.ops import BLOCK, LONGEST_UNSPLIT, Alibi, Attention, RelativeBias
from embedfleet.engine.onnx.disentangled import OnnxDisentangled
from embedfleet.engine.onnx.equal_length_runs import OnnxRuns
from embedfleet.engine.onnx.graph import MS, GraphBuilder

_NEVER = float(np.finfo(np.float32).min)  # added to a score to hide its key


class OnnxAttention:
    """Adds nodes that compute `Ops.attention`.

    Args:
        graph: Graph that nodes are added to.
        runs: Runs of the same graph.
    """

    def __init__(self, graph: GraphBuilder, runs: OnnxRuns) -> None:
        self._graph = graph
        self._runs = runs

    def __call__(self, query: str, key: str, value: str, attention: Attention) -> str:
        """Add the nodes of one attention; arguments and result are those of `Ops.attention`."""
        if isinstance(attention.bias, Disentangled):
            return OnnxDisentangled(self._graph, self._runs, attention, attention.bias)(query, key, value)
        parts = [query, *(self._repeat(states, attention) for states in (key, value))]

        def whole(grids: Sequence[str], bias: str) -> str:
            return self._rows(self._mix(grids, bias, attention, unidirectional=int(attention.is_causal)), attention)

        if attention.is_plain:
            return self._runs.compute(parts, whole)
        square = self._graph.once(("square", attention), lambda: self._square(attention))
        self._runs.prepare()
        return self._graph.choose(
            self._is_short(),
            lambda: self._runs.compute(parts, whole, square),
            lambda: self._runs.each(parts, lambda grids, _: self._by_block(grids, attention)),
        )

    def _by_block(self, grids: Sequence[str], attention: Attention) -> str:
        """Attention of one run, one block of queries after another."""
        graph = self._graph
        length = graph.add("Shape", grids[0], start=1, end=2)

        def block(number: str) -> str:
            begin = graph.add("Reshape", graph.add("Mul", number, graph.integer(BLOCK)), graph.whole(-1))
            end = graph.add("Min", graph.add("Add", begin, graph.whole(BLOCK)), length)
            low, high = self._seen(begin, end, length, attention)
            spans = ((begin, end), (low, high), (low, high))
            pieces = [graph.add("Slice", grid, *span, graph.whole(1)) for grid, span in zip(grids, spans, strict=True)]
            places = [graph.add("Slice", "columns", *span, graph.whole(0)) for span in spans[:2]]
            bias = self._bias(attention, self._distances(*places), causal=attention.is_causal)
            return self._mix(pieces, bias, attention)

        blocks = graph.add("Div", graph.add("Add", length, graph.whole(BLOCK - 1)), graph.whole(BLOCK))
        mixed = graph.each(graph.add("Squeeze", blocks), block)
        return self._rows(graph.add("ConcatFromSequence", mixed, axis=1), attention)

    def _seen(self, begin: str, end: str, length: str, attention: Attention) -> tuple[str, str]:
        """Keys that the queries from ``begin`` to ``end`` attend to: the first, and the one after the last."""
        graph, low, high = self._graph, self._graph.whole(0), length
        if attention.window is not None:
            window = graph.whole(attention.window)
            low = graph.add("Max", graph.add("Sub", begin, window), low)
            high = graph.add("Min", graph.add("Add", end, window), high)
        return low, (end if attention.is_causal else high)

    def _mix(self, grids: Sequence[str], bias: str, attention: Attention, **attributes: int) -> str:
        inputs = [*grids, "", "", bias] if bias else grids
        return self._graph.add("MultiHeadAttention", *inputs, domain=MS, num_heads=attention.heads, **attributes)

    def _rows(self, grid: str, attention: Attention) -> str:
        return self._graph.add("Reshape", grid, self._graph.whole(-1, attention.heads * attention.head_size))

    def _repeat(self, states: str, attention: Attention) -> str:
        """Keys or values [tokens, key_heads x size] → [tokens, heads x size], one copy of a head per query head."""
        times = attention.heads // attention.key_heads
        if times == 1:
            return states
        graph, size = self._graph, attention.head_size
        heads = graph.add("Reshape", states, graph.whole(-1, attention.key_heads, 1, size))
        repeated = graph.add("Expand", heads, graph.whole(1, attention.key_heads, times, size))
        return graph.add("Reshape", repeated, graph.whole(-1, attention.heads * size))

    def _is_short(self) -> str:
        graph, most = self._graph, self._graph.integer(LONGEST_UNSPLIT)
        return graph.once("short", lambda: graph.add("LessOrEqual", graph.add("Size", "columns"), most))

    def _square(self, attention: Attention) -> str:
        """The bias of all pairs of places in short sequences, without causality, which the operator applies itself."""
        graph, whole = self._graph, self._graph.whole
        columns = graph.once("short columns", lambda: graph.add("Slice", "columns", whole(0), whole(LONGEST_UNSPLIT)))
        distances = graph.once("distances", lambda: self._distances(columns, columns))
        return self._bias(attention, distances, causal=False)

    def _distances(self, queries: str, keys: str) -> str:
        """Distances from each query to each key, [queries, keys], positive for a later key."""
        graph, whole = self._graph, self._graph.whole
        return graph.add("Sub", graph.add("Unsqueeze", keys, whole(0)), graph.add("Unsqueeze", queries, whole(1)))

    def _bias(self, attention: Attention, distances: str, *, causal: bool) -> str:
        """The bias of the scores, [1, 1 or heads, queries, keys]; an empty name if there is none."""
        parts = []
        if isinstance(attention.bias, Alibi):
            parts.append(self._alibi(attention.bias, distances))
        elif isinstance(attention.bias, RelativeBias):
            parts.append(self._relative(attention.bias, distances))
        if causal or attention.window is not None:
            parts.append(self._hide(attention.window, distances, causal=causal))
        return self._graph.add("Add", *parts) if len(parts) == 2 else "".join(parts)

    def _alibi(self, bias: Alibi, distances: str) -> str:
        graph, slopes = self._graph, -np.array(bias.slopes, dtype=np.float32).reshape(1, -1, 1, 1)
        factors = graph.once(bias, lambda: graph.floats(slopes))
        return graph.add("Mul", graph.add("Cast", graph.add("Abs", distances), to=1), factors)

    def _relative(self, bias: RelativeBias, distances: str) -> str:
        """The learned bias of each pair, gathered by distance from the table of buckets."""
        graph, whole, farthest = self._graph, self._graph.whole, bias.max_distance
        buckets = [bias.bucket(distance) for distance in range(-farthest, farthest + 1)]
        table = graph.once(bias, lambda: graph.floats(bias.table.read()[buckets].T))
        held = graph.add("Min", graph.add("Max", distances, whole(-farthest)), whole(farthest))
        gathered = graph.add("Gather", table, graph.add("Add", held, whole(farthest)), axis=1)
        return graph.add("Unsqueeze", gathered, whole(0))

    def _hide(self, window: int | None, distances: str, *, causal: bool) -> str:
        graph, hidden = self._graph, []
        if causal:
            hidden.append(graph.add("Greater", distances, graph.whole(0)))
        if window is not None:
            hidden.append(graph.add("Greater", graph.add("Abs", distances), graph.whole(window)))
        either = graph.add("Or", *hidden) if len(hidden) == 2 else hidden[0]
        bias = graph.add("Where", either, graph.number(_NEVER), graph.number(0.0))
        return graph.add("Unsqueeze", bias, graph.whole(0, 1))
