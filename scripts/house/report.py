"""The table of figures that is printed beside the faults."""

from collections.abc import Iterator, Mapping, Sequence
from statistics import median, quantiles

from scripts.house.imports import Graph, Layers, arrows, levels
from scripts.house.source import Source, body_lines


def spread(values: Sequence[int]) -> str:
    """Return the median, the ninth decile and the maximum of some counts, as ``72 / 245 / 384``."""
    if not values:
        return "none"
    ninth = quantiles(values, n=10, method="inclusive")[-1] if len(values) > 1 else values[0]
    return f"{median(values):.0f} / {ninth:.0f} / {max(values)}"


def sizes(trees: Mapping[str, Sequence[Source]]) -> Iterator[str]:
    """Yield a row for each tree: its files, lines, and how file and body lines spread."""
    yield f"{'':12}{'files':>7}{'lines':>9}   {'file lines':20}{'body lines':20}median / p90 / max"
    for name, sources in trees.items():
        bodies = [body_lines(function) for source in sources for function in source.functions()]
        lines = [source.lines for source in sources]
        yield f"{name:12}{len(lines):>7}{sum(lines):>9}   {spread(lines):20}{spread(bodies)}"


def areas(graph: Graph, layers: Mapping[str, Layers]) -> Iterator[str]:
    """Yield a row for each area that has layers: its modules, its parts, the arrows between them and their levels."""
    yield f"{'':12}{'modules':>9}{'parts':>7}{'arrows':>8}{'levels':>8}"
    for area in layers:
        place = f"embedfleet.{area}" if area else "embedfleet"
        inside = arrows(graph, place)
        modules = sum(module.startswith(f"{place}.") for module in graph)
        count = sum(len(targets) for targets in inside.values())
        yield f"{area or 'embedfleet':12}{modules:>9}{len(inside):>7}{count:>8}{levels(inside):>8}"
