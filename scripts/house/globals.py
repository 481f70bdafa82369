"""The rule on module globals: a name of a module is bound once and its value never changes."""

import ast
from collections.abc import Iterable, Iterator

from scripts.house.source import Function, Source

# Methods by which lists, dicts, sets and deques change.
MUTATORS = (
    *("add", "append", "appendleft", "clear", "discard", "extend", "extendleft", "insert", "pop", "popitem"),
    *("popleft", "remove", "reverse", "rotate", "setdefault", "sort", "update"),
    *("difference_update", "intersection_update", "symmetric_difference_update"),
)
PACKAGES = frozenset({"embedfleet", "bench", "scripts"})


def mutable_globals(sources: Iterable[Source]) -> Iterator[str]:
    """Yield a fault for each ``global`` statement and each change of a module's value from within a function."""
    for source in sources:
        names = set(_module_names(source.tree))
        for function in source.functions():
            for line, fault in _changes(function, names - set(_local_names(function))):
                yield f"{source.path}:{line}: {fault}"


def _module_names(tree: ast.Module) -> Iterator[str]:
    """Names that the module binds, or imports from this repository; classes too, since attributes can be set on them."""
    for node in tree.body:
        if isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from (inner.id for target in targets for inner in ast.walk(target) if isinstance(inner, ast.Name))
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in PACKAGES:
            yield from (alias.asname or alias.name for alias in node.names)
        elif isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name


def _local_names(function: Function) -> Iterator[str]:
    """Names that a function binds itself: parameters, targets, imports."""
    for node in ast.walk(function):
        if isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.Import | ast.ImportFrom):
            yield from (alias.asname or alias.name.split(".")[0] for alias in node.names)


def _changes(function: Function, names: set[str]) -> Iterator[tuple[int, str]]:
    for node in ast.walk(function):
        if isinstance(node, ast.Global):
            yield node.lineno, f"global {', '.join(node.names)}"
        elif isinstance(node, ast.Subscript | ast.Attribute) and isinstance(node.ctx, ast.Store | ast.Del):
            name = _root(node.value)
            if name in names:
                yield node.lineno, f"{function.name} changes the module's {name}"
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in MUTATORS:
            name = _root(node.func.value)
            if name in names:
                yield node.lineno, f"{function.name} calls {node.func.attr} on the module's {name}"


def _root(node: ast.expr) -> str:
    """Name at the start of a chain of attributes and subscripts, such as ``TABLE`` in ``TABLE[0].rows``."""
    while isinstance(node, ast.Subscript | ast.Attribute):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""
