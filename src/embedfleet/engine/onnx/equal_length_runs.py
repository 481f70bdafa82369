"""The runs of a batch as nodes of an ONNX graph.

A run is a group of neighbouring sequences of equal length, as `compute.ragged_batch` finds them. It forms a grid
[sequences, length, width], and a loop in the graph computes one run after another.
"""

from collections.abc import Callable, Sequence

from embedfleet.engine.onnx.graph import GraphBuilder

Grids = Callable[[Sequence[str], str], str]
"""A function that adds the nodes of one run, given the grid of each part and the run's corner of ``square``."""


class OnnxRuns:
    """Adds nodes that compute a batch run by run.

    Args:
        graph: Graph that nodes are added to.
    """

    def __init__(self, graph: GraphBuilder) -> None:
        self._graph = graph

    def prepare(self) -> None:
        """Add the nodes that all calls of `compute` share; required before `compute` is called inside a branch."""
        self._first()

    def compute(self, parts: Sequence[str], compute: Grids, square: str = "") -> str:
        """Add nodes that compute each run and concatenate the results; a single run needs no loop.

        Args:
            parts: Names of tensors [tokens, width].
            compute: Function that adds the nodes for a run, whose result is [rows, columns].
            square: Name of a tensor [1, 1 or heads, longest, longest]; each run gets the corner of its length. Empty
                for none.
        """
        graph, first = self._graph, self._first()

        def one_run() -> str:
            return compute([graph.add("Reshape", part, first) for part in parts], square)

        return graph.choose("uniform", one_run, lambda: self.each(parts, compute, square))

    def each(self, parts: Sequence[str], compute: Grids, square: str = "") -> str:
        """Add the same nodes as `compute`, but with a loop even for a single run."""
        graph = self._graph

        def run(number: str) -> str:
            shape, start, end = (graph.add("Gather", of, number) for of in ("run_shapes", "run_starts", "run_ends"))
            rows = [graph.add("Slice", part, start, end, graph.whole(0)) for part in parts]
            grids = [graph.add("Reshape", each, shape) for each in rows]
            return compute(grids, self._corner(square, grids[0]) if square else "")

        return graph.add("ConcatFromSequence", graph.each(graph.add("Size", "run_starts"), run), axis=0)

    def _corner(self, square: str, grid: str) -> str:
        graph = self._graph
        length = graph.add("Shape", grid, start=1, end=2)
        both = graph.add("Concat", length, length, axis=0)
        return graph.add("Slice", square, graph.whole(0, 0), both, graph.whole(2, 3))

    def _first(self) -> str:
        """The name of the shape of the first run's grid."""
        graph = self._graph
        return graph.once("first run", lambda: graph.add("Gather", "run_shapes", graph.integer(0)))
