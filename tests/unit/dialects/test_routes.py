"""The rows of the table of routes agree with each other, and no other module names their paths."""

import ast
from collections import defaultdict
from pathlib import Path

import pytest

from embedfleet.dialects import routes
from embedfleet.dialects.error_body import ErrorStyle
from embedfleet.dialects.routes import ROUTES, error_style, own_operation, path_of, posted

SOURCE = Path(routes.__file__).parent.parent
PATHS = {route.path for route in ROUTES} - {"/"}  # a slash alone is used for much else


def literals(file: Path):
    """Yield each string and byte string of a file, also those within f-strings."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Constant) and isinstance(node.value, str | bytes):
            yield node.lineno, node.value if isinstance(node.value, str) else node.value.decode("latin-1")


def test_no_other_module_names_the_path_of_a_route():
    found = [
        f"{file.relative_to(SOURCE)}:{line}: {text}"
        for file in sorted(SOURCE.rglob("*.py"))
        if file.name != "routes.py" or file.parent.name != "dialects"
        for line, text in literals(file)
        if text.partition(" ")[0].partition("?")[0] in PATHS
    ]
    assert found == [], "a path is written outside of dialects.routes"


def test_a_path_has_each_method_once_and_post_first():
    methods = defaultdict(list)
    for route in ROUTES:
        methods[route.path].append(route.method)
    assert {tuple(found) for found in methods.values()} == {("POST",), ("GET",), ("POST", "GET")}


def test_aliases_differ_in_their_path_alone():
    kinds = defaultdict(set)
    for route in ROUTES:
        kinds[route.operation, route.method].add((route.struct, route.reader, route.reply, route.error_style))
    assert {key for key, found in kinds.items() if len(found) > 1} == set()


def test_a_route_with_a_reader_has_a_reply_shape():
    assert [route.path for route in ROUTES if (route.reader is None) != (route.reply is None)] == []


def test_each_route_is_served_and_has_a_summary():
    assert [route.path for route in ROUTES if not (route.is_on_engine or route.is_on_gateway)] == []
    assert [route.path for route in ROUTES if not route.summary] == []


def test_a_field_has_one_default_on_all_routes():
    """The gateway replaces nulls by the same defaults on every route."""
    defaults = defaultdict(set)
    for route in ROUTES:
        for name, default in route.struct.null_defaults().items() if route.struct is not None else ():
            defaults[name].add(default)
    assert {name for name, found in defaults.items() if len(found) > 1} == set()
    assert set(defaults) == {
        "encoding_format", "normalize", "raw_scores", "return_text", "truncation_direction", "add_special_tokens",
        "skip_special_tokens",
    }  # fmt: skip


@pytest.mark.parametrize("kind", ["embedding", "reranker", "classifier", "splade"])
def test_the_own_route_of_each_kind_of_model_is_split(kind):
    route = posted(path_of(own_operation(kind)))
    assert route is not None
    assert route.reader is not None


def test_an_operation_has_the_path_of_its_first_route():
    assert (path_of("embeddings"), path_of("docs")) == ("/v1/embeddings", "/docs/")
    with pytest.raises(KeyError):
        path_of("nothing")


@pytest.mark.parametrize(
    ("path", "style"),
    [
        ("/v1/embeddings", ErrorStyle.OPENAI),
        ("/embeddings", ErrorStyle.OPENAI),
        ("/v1/models", ErrorStyle.OPENAI),
        ("/embeddings/", ErrorStyle.OPENAI),
        ("/embed", ErrorStyle.TEI),
        ("/v1", ErrorStyle.TEI),
        ("/nope", ErrorStyle.TEI),
    ],
)
def test_errors_on_a_path_have_its_style(path, style):
    assert error_style(path) is style
