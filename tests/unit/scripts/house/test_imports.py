"""The graph of imports: circles, layers, arrows and levels are found where they are planted."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.house.imports import (
    arrows,
    broken_layers,
    circles,
    flat_areas,
    import_circles,
    import_graph,
    layer_tables,
    levels,
)
from scripts.house.source import Source


def graph(**texts):
    paths = {name: f"src/embedfleet/{name.replace('__', '/')}.py" for name in texts}
    return import_graph([Source.parse(paths[name], text) for name, text in texts.items()])


@pytest.mark.parametrize(
    "text",
    [
        "from embedfleet.a import X\n",
        "import embedfleet.a\n",
        "from embedfleet import a\n",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from embedfleet.a import X\n",
        "def f():\n    from embedfleet.a import X\n",
    ],
)
def test_a_circle_is_a_fault_however_it_is_closed(text):
    found = graph(a="from embedfleet.b import Y\n", b=text, c="from embedfleet.a import X\n")
    assert list(import_circles(found)) == ["import circle: embedfleet.a, embedfleet.b"]


def test_a_chain_is_no_circle():
    found = graph(a="from embedfleet.b import Y\n", b="from embedfleet.c import Z\nimport json\n", c="")
    assert list(import_circles(found)) == []
    assert levels(found) == 3


@given(st.dictionaries(st.integers(0, 9), st.sets(st.integers(0, 9)), max_size=10))
def test_a_module_is_in_a_circle_if_and_only_if_it_reaches_itself(edges):
    names = {node for start, targets in edges.items() for node in (start, *targets)}
    plain = {str(name): {str(target) for target in edges.get(name, ())} - {str(name)} for name in names}

    def reached(start):
        seen, todo = set(), list(plain[start])
        while todo:
            node = todo.pop()
            if node not in seen:
                seen.add(node)
                todo += plain[node]
        return seen

    assert {name for group in circles(plain) for name in group} == {name for name in plain if name in reached(name)}


def test_arrows_join_the_parts_of_an_area():
    found = graph(
        a__low__x="",
        a__high__y="from embedfleet.a.low.x import X\nfrom embedfleet.a.high.z import Z\n",
        a__high__z="from embedfleet.b import B\n",
        b="",
    )
    assert arrows(found, "embedfleet.a") == {"low": set(), "high": {"low"}}
    assert arrows(found, "embedfleet") == {"a": {"b"}, "b": set()}


@pytest.mark.parametrize(
    ("layers", "faults"),
    [
        ([{"high"}, {"low"}], []),
        ([{"low"}, {"high"}], ["embedfleet.a.high imports embedfleet.a.low, which is not on a lower layer"]),
        ([{"low", "high"}], ["embedfleet.a.high imports embedfleet.a.low, which is not on a lower layer"]),
        ([{"high"}], ["embedfleet.a.low has no layer in tests/test_architecture.py"]),
    ],
)
def test_an_import_that_does_not_point_down_is_a_fault(layers, faults):
    found = graph(a__low__x="", a__high__y="from embedfleet.a.low.x import X\n")
    assert list(broken_layers(found, {"a": layers})) == faults


def test_an_area_with_folders_and_no_layers_is_a_fault():
    found = graph(a__low__x="", b="")
    assert list(flat_areas(found, {"": [{"a", "b"}]})) == [
        "embedfleet.a has folders and no layers in tests/test_architecture.py"
    ]
    assert list(flat_areas(found, {"a": [{"low"}]})) == []


def test_the_layers_are_read_from_the_test_that_holds_them():
    text = 'LAYERS = [{"a"}, {"b"}]\nSUB_LAYERS = {"a": [{"x"}]}\n'
    assert layer_tables(Source.parse("tests/test_architecture.py", text)) == {"": [{"a"}, {"b"}], "a": [{"x"}]}
