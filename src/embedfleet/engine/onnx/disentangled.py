"""Disentangled attention as nodes of an ONNX graph, in memory that grows linearly with the tokens.

The scores of all queries for all distances are one product with the table's rows, in order of distance. In this
product, the score of a key moves by one column from each query's row to the next. `_aligned` moves the scores of each
key into one column by a reshape.
"""

from collections.abc import Sequence

from embedfleet.engine.families.disentangled import TILE, Disentangled, Projection
from embedfleet.engine.families.ops import Attention
from embedfleet.engine.onnx.equal_length_runs import OnnxRuns
from embedfleet.engine.onnx.graph import MS, GraphBuilder


class OnnxDisentangled:
    """Adds nodes that compute `Ops.attention` with a `Disentangled` bias.

    Args:
        graph: Graph that nodes are added to.
        runs: Runs of the same graph.
        attention: Shape of the attention, neither causal nor with a window.
        bias: Bias of ``attention``.
    """

    def __init__(self, graph: GraphBuilder, runs: OnnxRuns, attention: Attention, bias: Disentangled) -> None:
        self._graph = graph
        self._runs = runs
        self._shape = attention
        self._bias = bias

    def __call__(self, query: str, key: str, value: str) -> str:
        """Add the nodes of one attention; a batch of few tokens is computed run by run, a larger one tile by tile."""
        graph, parts = self._graph, [query, key, value]
        self._buckets()
        self._runs.prepare()
        few = graph.once("few", lambda: graph.add("LessOrEqual", graph.add("Size", "ids"), graph.integer(TILE)))
        return graph.choose(
            few,
            lambda: self._runs.compute(parts, lambda grids, _: self._mix(grids, graph.whole(0))),
            lambda: self._runs.each(parts, lambda grids, _: self._by_tile(grids)),
        )

    def _by_tile(self, grids: Sequence[str]) -> str:
        """Attention of one run in tiles.

        A tile is as many short sequences as fit into a block of queries, or one block of a long sequence.
        """
        graph, whole = self._graph, self._graph.whole
        count, length = (graph.add("Shape", grids[0], start=axis, end=axis + 1) for axis in (0, 1))
        block = whole(TILE)
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
        """Attention of the queries from place ``begin`` on to all keys: [sequences, some, width] → [rows, width]."""
        graph, shape, bias = self._graph, self._shape, self._bias
        queries, keys = (graph.add("Shape", grid, start=1, end=2) for grid in grids[:2])
        added = []
        if bias.keys is not None:
            added.append(self._of_queries(grids[0], begin, queries, keys, bias.keys))
        if bias.queries is not None:
            added.append(self._of_keys(grids[1], begin, queries, keys, bias.queries))
        both = graph.add("Add", *added) if len(added) == 2 else added[0]
        mixed = graph.add("MultiHeadAttention", *grids, "", "", both, domain=MS, num_heads=shape.heads)
        return graph.add("Reshape", mixed, graph.whole(-1, shape.heads * shape.head_size))

    def _of_queries(self, states: str, begin: str, queries: str, keys: str, table: Projection) -> str:
        """Content-to-position scores, of queries with projected distances: [sequences, heads, queries, keys].

        The rows of the table are in the order of falling distances i - j, from the farthest key before a query to the
        farthest one after it.
        """
        graph, heads, size = self._graph, self._shape.heads, self._shape.head_size
        first = graph.add("Sub", graph.add("Add", begin, queries), graph.whole(1))
        places = graph.add("Sub", first, self._steps(graph.add("Add", queries, keys)))
        split = graph.add("Reshape", states, graph.whole(0, 0, heads, size))
        rows = graph.add("Reshape", self._picked(table, places), graph.whole(0, heads, size))
        by_head = graph.add("Transpose", split, perm=[0, 2, 1, 3])
        product = graph.add("MatMul", by_head, graph.add("Transpose", rows, perm=[1, 2, 0]))
        return self._aligned(product, queries, keys, 3)

    def _of_keys(self, states: str, begin: str, queries: str, keys: str, table: Projection) -> str:
        """Position-to-content scores, of keys with projected distances: [sequences, heads, queries, keys].

        The product of all keys with all distances would take quadratic memory. So keys are split into blocks, each with
        only the rows of the table that it needs. One product computes all blocks; the last block is padded with zeros.
        """
        graph, whole, heads, size = self._graph, self._graph.whole, self._shape.heads, self._shape.head_size
        block = graph.add("Min", keys, whole(TILE))
        blocks = self._divided(keys, block)
        filled = graph.add("Mul", blocks, block)
        more = graph.add("Concat", whole(0, 0, 0, 0), graph.add("Sub", filled, keys), whole(0), axis=0)
        shape = graph.add("Concat", whole(0), blocks, block, whole(heads, size), axis=0)
        split = graph.add("Reshape", graph.add("Pad", states, more), shape)
        starts = graph.add(
            "Mul", self._steps(graph.add("Add", blocks, whole(1))), block
        )  # the first step belongs to no block
        starts = graph.add("Slice", starts, whole(1), graph.add("Add", blocks, whole(1)), whole(0))
        starts = graph.add("Sub", graph.add("Add", begin, whole(1)), starts)
        wide = graph.add("Add", block, queries)
        places = graph.add("Add", graph.add("Unsqueeze", starts, whole(1)), self._steps(wide))
        rows = graph.add("Concat", whole(0), wide, whole(heads, size), axis=0)
        rows = graph.add("Transpose", graph.add("Reshape", self._picked(table, places), rows), perm=[2, 0, 3, 1])
        product = graph.add("MatMul", graph.add("Transpose", split, perm=[0, 3, 1, 2, 4]), rows)
        turned = graph.add("Transpose", self._aligned(product, block, queries, 4), perm=[0, 1, 4, 2, 3])
        shape = graph.add("Concat", whole(0, 0), queries, filled, axis=0)
        return graph.add("Slice", graph.add("Reshape", turned, shape), whole(0), keys, whole(3))

    def _aligned(self, scores: str, rows: str, columns: str, axis: int) -> str:
        """Align rows that are shifted by one column each: [.., rows, rows + columns] → [.., rows, columns].

        The first row's result begins in column rows - 1, and each further row's begins one column earlier. Reading the
        same memory in rows that are one number shorter aligns them. ``axis`` is the last axis.
        """
        graph, whole, outer = self._graph, self._graph.whole, [0] * (axis - 1)
        before = graph.add("Sub", rows, whole(1))
        narrow = graph.add("Add", before, columns)
        flat = graph.add("Reshape", scores, whole(*outer, -1))
        end = graph.add("Add", before, graph.add("Mul", rows, narrow))
        flat = graph.add("Slice", flat, before, end, whole(axis - 1))
        shape = graph.add("Concat", whole(*outer), rows, narrow, axis=0)
        return graph.add("Slice", graph.add("Reshape", flat, shape), whole(0), columns, whole(axis))

    def _steps(self, count: str) -> str:
        """The numbers from 0 up to, but not including, ``count``."""
        graph = self._graph
        return graph.add("Range", graph.integer(0), graph.add("Squeeze", count), graph.integer(1))

    def _picked(self, table: Projection, distances: str) -> str:
        """The table's rows for ``distances`` i - j; a distance that no key has may get any row."""
        graph = self._graph
        values = graph.once(table, lambda: graph.converted(table.read()))
        places = graph.add("Add", distances, graph.whole(self._bias.longest))
        held = graph.add("Min", graph.add("Max", places, graph.whole(0)), graph.whole(2 * self._bias.longest))
        return graph.add("Gather", values, graph.add("Gather", self._buckets(), held))

    def _buckets(self) -> str:
        bias = self._bias
        key = ("buckets", bias.span, bias.exact, bias.farthest, bias.longest)
        return self._graph.once(key, lambda: self._graph.converted(bias.rows()))

    def _divided(self, value: str, by: str) -> str:
        """The quotient, rounded up."""
        graph = self._graph
        return graph.add("Div", graph.add("Sub", graph.add("Add", value, by), graph.whole(1)), by)
