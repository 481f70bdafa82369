"""Runs of a batch as nodes of an ONNX graph: sequences of one length that stand beside each other are one grid.

See `layout`: a grid is [sequences, length, width], and a loop in the graph goes over the runs.
"""

from collections.abc import Callable, Sequence

from embedfleet.engine.onnx.graph import GraphBuilder

Grids = Callable[[Sequence[str], str], str]
"""What is computed of a run's grids, one for each part, and of what `OnnxRuns.compute` has for pairs of its columns."""


class OnnxRuns:
    """Computes run by run.

    Args:
        graph: that nodes are added to.
    """

    def __init__(self, graph: GraphBuilder) -> None:
        self._graph = graph

    def prepare(self) -> None:
        """Add what `compute` shares; to be called first where that is called in a branch."""
        self._first()

    def compute(self, parts: Sequence[str], compute: Grids, square: str = "") -> str:
        """What is computed of each run, end to end again; one run alone, as of a lone text, needs no loop.

        Args:
            parts: [tokens, width] each.
            compute: returns [rows, columns].
            square: [1, 1 or heads, longest, longest], of which a run gets the corner; empty where there is none.
        """
        graph, first = self._graph, self._first()

        def one_run() -> str:
            return compute([graph.add("Reshape", part, first) for part in parts], square)

        return graph.choose("uniform", one_run, lambda: self.each(parts, compute, square))

    def each(self, parts: Sequence[str], compute: Grids, square: str = "") -> str:
        """As `compute`, by the loop even if there is one run."""
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
        """The shape of the first run's grid."""
        graph = self._graph
        return graph.once("first run", lambda: graph.add("Gather", "run_shapes", graph.place(0)))
