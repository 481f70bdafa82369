"""The rule on tests: they run our own code as it is, never a replacement of it."""

import ast
from collections.abc import Iterable, Iterator

from scripts.house.source import Source

LIBRARIES = ("unittest.mock", "mock", "pytest_mock", "flexmock", "responses", "respx", "vcr")

# Files that may replace an attribute of our own code, each with its reason.
EXCEPTIONS = {
    "tests/e2e/gateway/test_own_faults.py": "makes our own code raise, as a mistake in it would: no input can do that",
    "tests/services/lying/sitecustomize.py": "makes the process of a real engine answer wrongly, over real sockets",
}


def mocks(tests: Iterable[Source]) -> Iterator[str]:
    """Yield a fault for each library of mocks that a test imports and each attribute of our own code that it replaces."""
    for test in tests:
        ours = set(_names_of_ours(test.tree))
        for node in ast.walk(test.tree):
            fault = _fault(node, ours)
            if fault and not (fault.startswith("replaces") and test.path in EXCEPTIONS):
                yield f"{test.path}:{getattr(node, 'lineno', 0)}: {fault}"


def _names_of_ours(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and _is_package(node.module or ""):
            yield from (alias.asname or alias.name for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.asname or alias.name.split(".")[0] for alias in node.names if _is_package(alias.name))


def _fault(node: ast.AST, ours: set[str]) -> str:
    if isinstance(node, ast.Import):
        found = [alias.name for alias in node.names if _is_mock(alias.name)]
        return f"imports {found[0]}" if found else ""
    if isinstance(node, ast.ImportFrom):
        module = node.module or ""
        found = [alias.name for alias in node.names if _is_mock(module) or _is_mock(f"{module}.{alias.name}")]
        return f"imports {module}.{found[0]}" if found else ""
    if isinstance(node, ast.arg):
        return "uses the fixture mocker" if node.arg == "mocker" else ""
    if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and _root(node) in ours:
        return f"replaces {ast.unparse(node)}"
    if isinstance(node, ast.Call) and node.args and _is_replacement(node.func, node.args[0], ours):
        return f"replaces an attribute of {ast.unparse(node.args[0])}"
    return ""


def _is_replacement(function: ast.expr, target: ast.expr, ours: set[str]) -> bool:
    """Whether a call may replace an attribute of our own code.

    Every ``monkeypatch.setattr`` counts, unless its target is a string with the path of another package.
    """
    if isinstance(function, ast.Name):
        return function.id == "setattr" and _root(target) in ours
    if isinstance(target, ast.Constant) and isinstance(target.value, str):
        return isinstance(function, ast.Attribute) and function.attr == "setattr" and _is_package(target.value)
    return isinstance(function, ast.Attribute) and function.attr == "setattr"


def _is_mock(name: str) -> bool:
    return any(name == library or name.startswith(f"{library}.") for library in LIBRARIES)


def _is_package(name: str) -> bool:
    return name.split(".", maxsplit=1)[0] == "embedfleet"


def _root(node: ast.expr) -> str:
    while isinstance(node, ast.Attribute):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""
