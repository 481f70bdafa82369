"""Parsed source files and the walks over them that several rules share."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Source:
    """One parsed Python file.

    Attributes:
        path: Path from the root of the repository, with forward slashes.
        text: Content of the file.
        tree: Syntax tree of the content.
    """

    path: str
    text: str
    tree: ast.Module

    @classmethod
    def parse(cls, path: str, text: str) -> "Source":
        """Parse the content of a file."""
        return cls(path, text, ast.parse(text, path))

    @property
    def lines(self) -> int:
        """Number of lines, blank ones and comments included."""
        return len(self.text.splitlines())

    @property
    def module(self) -> str:
        """Dotted name of the module, as ``embedfleet.http.request_head`` for ``src/embedfleet/http/request_head.py``."""
        return self.path.removeprefix("src/").removesuffix(".py").replace("/", ".").removesuffix(".__init__")

    def functions(self) -> Iterator[Function]:
        """Yield every function and method, nested ones included."""
        return (node for node in ast.walk(self.tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def read(root: Path, folder: str) -> list[Source]:
    """Parse every Python file under a folder of the repository."""
    return [
        Source.parse(path.relative_to(root).as_posix(), path.read_text())
        for path in sorted((root / folder).rglob("*.py"))
        if "__pycache__" not in path.parts
    ]


def body_lines(function: Function) -> int:
    """Return the lines of a function from its first statement after the docstring to its last line."""
    has_docstring = ast.get_docstring(function, clean=False) is not None
    statements = function.body[1:] if has_docstring else function.body
    if not statements:
        return 0
    return (function.end_lineno or 0) - statements[0].lineno + 1
