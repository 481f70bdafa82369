"""Disentangled attention as nodes of an ONNX graph, in memory that grows with the tokens and not with their square.

What a query has with each distance is one product with the tables' rows, taken in order of the distance. In it, what
belongs to one key stands one column further in each row: so it is moved into place by renaming memory, see `_aligned`.
"""

from collections.abc import Sequence

from embedfleet.engine.disentangled import Disentangled, Projection
from embedfleet.engine.onnx_graph import MS, GraphBuilder
from embedfleet.engine.onnx_runs import OnnxRuns
from embedfleet.engine.ops import BLOCK, Attention


class OnnxDisentangled:
    """`Ops.attention` with a `Disentangled` bias, by names of nodes' outputs.

    Args:
        graph: that nodes are added to.
        runs: of the same graph.
        attention: neither causal nor with a window.
        bias: of ``attention``.
    """

    def __init__(self, graph: GraphBuilder, runs: OnnxRuns, attention: Attention, bias: Disentangled) -> None:
        self._graph = graph
        self._runs = runs
        self._shape = attention
        self._bias = bias

    def __call__(self, query: str, key: str, value: str) -> str:
        """See `Ops.attention`. A few tokens are computed run by run, more of them tile by tile."""
        graph, parts = self._graph, [query, key, value]
        self._buckets()
        self._runs.prepare()
        few = graph.once("few", lambda: graph.add("LessOrEqual", graph.add("Size", "ids"), graph.place(BLOCK)))
        return graph.choose(
            few,
            lambda: self._runs.compute(parts, lambda grids, _: self._mix(grids, graph.whole(0))),
            lambda: self._runs.each(parts, lambda grids, _: self._by_tile(grids)),
        )

    def _by_tile(self, grids: Sequence[str]) -> str:
        """Of a run: as many of its sequences at a time as are a block together, of a longer one a block of queries."""
        graph, whole = self._graph, self._graph.whole
        count, length = (graph.add("Shape", grids[0], start=axis, end=axis + 1) for axis in (0, 1))
        block = whole(BLOCK)
        together = graph.add("Max", graph.add("Div", block, length), whole(1))
        blocks = self._divided(length, block)
        tiles = graph.add("Mul", self._divided(count, together), blocks)

        def tile(number: str) -> str:
            number = graph.add("Reshape", number, whole(-1))
            first = graph.add("Mul", graph.add("Div", number, blocks), together)
            last = graph.add("Min", graph.add("Add", first, together), count)
            begin = graph.add("Mul", graph.add("Mod", number, blocks), block)
            end = graph.add("Min", graph.add("Add", begin, block), length)
            query, key, value = (graph.add("Slice", grid, first, last, whole(0)) for grid in grids)
            return self._mix([graph.add("Slice", query, begin, end, whole(1)), key, value], begin)

        return graph.add("ConcatFromSequence", graph.each(graph.add("Squeeze", tiles), tile), axis=0)

    def _mix(self, grids: Sequence[str], begin: str) -> str:
        """Of queries [sequences, some, width] from place ``begin`` on, and all keys and values: [rows, width]."""
        graph, shape, bias = self._graph, self._shape, self._bias
        queries, keys = (graph.add("Shape", grid, start=1, end=2) for grid in grids[:2])
        added = []
        if bias.keys is not None:  # from the farthest key before to the farthest after: i - j falls
            start = graph.add("Sub", graph.add("Add", begin, queries), graph.whole(1))
            rows = self._rows(start, graph.add("Sub", start, graph.add("Add", queries, keys)), -1)
            added.append(self._aligned(self._product(grids[0], bias.keys, rows), queries, keys))
        if bias.queries is not None:
            start = graph.add("Sub", graph.add("Add", begin, graph.whole(1)), keys)
            rows = self._rows(start, graph.add("Add", start, graph.add("Add", queries, keys)), 1)
            scores = self._aligned(self._product(grids[1], bias.queries, rows), keys, queries)
            added.append(graph.add("Transpose", scores, perm=[0, 1, 3, 2]))
        both = graph.add("Add", *added) if len(added) == 2 else added[0]
        mixed = graph.add("MultiHeadAttention", *grids, "", "", both, domain=MS, num_heads=shape.heads)
        return graph.add("Reshape", mixed, graph.whole(-1, shape.heads * shape.head_size))

    def _product(self, states: str, table: Projection, rows: str) -> str:
        """Of states [sequences, some, width] and the table's ``rows`` by head: [sequences, heads, some, rows]."""
        graph, heads, size = self._graph, self._shape.heads, self._shape.head_size
        values = graph.once(table, lambda: graph.converted(table.read()))
        split = graph.add("Reshape", states, graph.whole(0, 0, heads, size))
        picked = graph.add("Reshape", graph.add("Gather", values, rows), graph.whole(0, heads, size))
        turned = graph.add("Transpose", picked, perm=[1, 2, 0])
        return graph.add("MatMul", graph.add("Transpose", split, perm=[0, 2, 1, 3]), turned)

    def _aligned(self, scores: str, rows: str, columns: str) -> str:
        """Of [.., rows, rows + columns] the first ``columns``, each row begun one place before the one above it.

        The first row begins at place rows - 1. Read on in rows that are one number shorter, memory has it so.
        """
        graph, whole = self._graph, self._graph.whole
        before = graph.add("Sub", rows, whole(1))
        narrow = graph.add("Add", before, columns)
        flat = graph.add("Reshape", scores, whole(0, 0, -1))
        end = graph.add("Add", before, graph.add("Mul", rows, narrow))
        flat = graph.add("Slice", flat, before, end, whole(2))
        shape = graph.add("Concat", whole(0, 0), rows, narrow, axis=0)
        return graph.add("Slice", graph.add("Reshape", flat, shape), whole(0), columns, whole(3))

    def _rows(self, start: str, end: str, step: int) -> str:
        """The tables' rows of the distances from ``start`` to before ``end``."""
        graph, middle = self._graph, self._graph.whole(self._bias.middle)
        ends = (graph.add("Squeeze", graph.add("Add", place, middle)) for place in (start, end))
        return graph.add("Gather", self._buckets(), graph.add("Range", *ends, graph.place(step)))

    def _buckets(self) -> str:
        bias = self._bias
        key = ("buckets", bias.span, bias.exact, bias.farthest, bias.longest)
        return self._graph.once(key, lambda: self._graph.converted(bias.rows()))

    def _divided(self, value: str, by: str) -> str:
        """Rounded up."""
        graph = self._graph
        return graph.add("Div", graph.add("Sub", graph.add("Add", value, by), graph.whole(1)), by)
