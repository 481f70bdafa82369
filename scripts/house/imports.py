"""The graph of imports between modules: its circles, its layers and its arrows between folders."""

import ast
from collections.abc import Iterable, Iterator, Mapping

from scripts.house.source import Source

Graph = Mapping[str, set[str]]
Layers = list[set[str]]


def import_graph(sources: Iterable[Source]) -> dict[str, set[str]]:
    """Return the modules that each module imports, in functions and under ``TYPE_CHECKING`` too."""
    trees = {source.module: source.tree for source in sources}
    return {module: set(_imported(tree, trees.keys())) - {module} for module, tree in trees.items()}


def _imported(tree: ast.Module, modules: Iterable[str]) -> Iterator[str]:
    known = set(modules)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                if name in known:
                    yield name
                elif node.module in known:
                    yield node.module


def circles(graph: Graph) -> list[list[str]]:
    """Return the groups of modules that import each other, each sorted."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found = []

    def visit(module: str) -> None:
        """Tarjan's algorithm: number the module, then everything it reaches."""
        index[module] = low[module] = len(index)
        stack.append(module)
        for target in sorted(graph[module]):
            if target not in index:
                visit(target)
                low[module] = min(low[module], low[target])
            elif target in stack:
                low[module] = min(low[module], index[target])
        if low[module] == index[module]:
            group = stack[stack.index(module) :]
            del stack[-len(group) :]
            if len(group) > 1:
                found.append(sorted(group))

    for module in sorted(graph):
        if module not in index:
            visit(module)
    return sorted(found)


def import_circles(graph: Graph) -> Iterator[str]:
    """Yield a fault for each circle of imports."""
    for group in circles(graph):
        yield f"import circle: {', '.join(group)}"


def arrows(graph: Graph, area: str = "") -> dict[str, set[str]]:
    """Return the imports between the parts of an area.

    Args:
        graph: Imports between modules.
        area: Dotted name of a package; its parts are the folders and files directly in it.
    """
    inside: dict[str, set[str]] = {}
    for module, targets in graph.items():
        if not module.startswith(f"{area}."):
            continue
        part = _part(module, area)
        inside.setdefault(part, set()).update(
            _part(target, area) for target in targets if target.startswith(f"{area}.")
        )
    return {part: targets - {part} for part, targets in inside.items()}


def _part(module: str, area: str) -> str:
    return module.removeprefix(f"{area}.").split(".")[0]


def levels(graph: Graph) -> int:
    """Return the length of the longest chain of imports; in a circle it is counted up to where the circle closes."""
    depth: dict[str, int] = {}

    def measure(part: str) -> int:
        if part not in depth:
            depth[part] = 0
            depth[part] = 1 + max((measure(target) for target in graph[part]), default=0)
        return depth[part]

    return max((measure(part) for part in graph), default=0)


def layer_tables(architecture: Source) -> dict[str, Layers]:
    """Return the tables of layers in ``tests/test_architecture.py``; the key of the outermost is the empty string."""
    tables = {
        target.id: node.value
        for node in architecture.tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    layers: dict[str, Layers] = {"": ast.literal_eval(tables["LAYERS"])}
    layers.update(ast.literal_eval(tables["SUB_LAYERS"]))
    return layers


def broken_layers(graph: Graph, layers: Mapping[str, Layers], package: str = "embedfleet") -> Iterator[str]:
    """Yield a fault for each part without a layer and for each import that does not point to a lower layer.

    Args:
        graph: Imports between modules.
        layers: Layers of each area, the highest first; the empty string is the package itself.
        package: Name of the package that holds the areas.
    """
    for area, table in layers.items():
        rank = {name: number for number, names in enumerate(table) for name in names}
        place = f"{package}.{area}" if area else package
        for part, targets in sorted(arrows(graph, place).items()):
            if part not in rank:
                yield f"{place}.{part} has no layer in tests/test_architecture.py"
                continue
            for target in sorted(targets):
                if target in rank and rank[target] <= rank[part]:
                    yield f"{place}.{part} imports {place}.{target}, which is not on a lower layer"


def flat_areas(graph: Graph, layers: Mapping[str, Layers], package: str = "embedfleet") -> Iterator[str]:
    """Yield a fault for each area that has folders of its own and no table of layers."""
    for area in sorted(arrows(graph, package)):
        folders = {
            module.split(".")[2]
            for module in graph
            if module.startswith(f"{package}.{area}.") and module.count(".") > 2
        }
        if folders and area not in layers:
            yield f"{package}.{area} has folders and no layers in tests/test_architecture.py"
