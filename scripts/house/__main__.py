"""``python -m scripts.house``: prints the figures of the source, and fails if it breaks a rule or is over a limit."""

import sys
from collections.abc import Iterator
from pathlib import Path

from scripts.house import imports, report
from scripts.house.globals import mutable_globals
from scripts.house.mocks import mocks
from scripts.house.sizes import few_tests, long_files, long_functions, ratio_of_tests, untyped_returns
from scripts.house.source import Source, read

ROOT = Path(__file__).parents[2]
TREES = ("src", "bench", "scripts", "tests")


def faults(trees: dict[str, list[Source]], layers: dict[str, imports.Layers]) -> Iterator[str]:
    """Yield every fault of the repository.

    Args:
        trees: Sources of each top folder, tests among them.
        layers: Layers of each area, as ``tests/test_architecture.py`` has them.
    """
    product = [source for name in ("src", "bench", "scripts") for source in trees[name]]
    graph = imports.import_graph(trees["src"])
    yield from long_files(product)
    yield from long_functions(product + trees["tests"])
    yield from untyped_returns(product)
    yield from mutable_globals(product)
    yield from imports.import_circles(graph)
    yield from imports.broken_layers(graph, layers)
    yield from imports.flat_areas(graph, layers)
    yield from mocks(trees["tests"])
    yield from few_tests(ratio_of_tests(trees["tests"], trees["src"]))


def main() -> None:
    """Print the figures, then the faults if there are any."""
    trees = {name: read(ROOT, name) for name in TREES}
    layers = imports.layer_tables(next(test for test in trees["tests"] if test.path == "tests/test_architecture.py"))
    graph = imports.import_graph(trees["src"])
    found = list(faults(trees, layers))
    long_tests = list(long_files(trees["tests"]))
    print(*report.sizes(trees), "", sep="\n")
    print(*report.areas(graph, layers), "", sep="\n")
    print(f"lines of tests for each line of src: {ratio_of_tests(trees['tests'], trees['src']):.3f}")
    if long_tests:
        print("", "long files of tests, which are allowed:", *long_tests, sep="\n")
    if found:
        sys.exit("\n".join(["", f"{len(found)} faults:", *found]))


if __name__ == "__main__":
    main()
