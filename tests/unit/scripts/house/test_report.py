"""The table of figures counts what is there."""

from scripts.house.report import areas, sizes, spread
from scripts.house.source import Source


def test_counts_are_told_by_median_ninth_decile_and_maximum():
    assert spread([]) == "none"
    assert spread([7]) == "7 / 7 / 7"
    assert spread(range(1, 102)) == "51 / 91 / 101"


def test_each_tree_has_a_row():
    found = list(sizes({"src": [Source.parse("src/a.py", "def f() -> None:\n    x = 1\n    y = 2\n")], "tests": []}))
    assert found[1].split() == ["src", "1", "3", "3", "/", "3", "/", "3", "2", "/", "2", "/", "2"]
    assert found[2].split() == ["tests", "0", "0", "none", "none"]


def test_each_area_with_layers_has_a_row():
    graph = {"embedfleet.a.x": {"embedfleet.a.y"}, "embedfleet.a.y": set(), "embedfleet.b": {"embedfleet.a.x"}}
    rows = [row.split() for row in areas(graph, {"": [], "a": []})]
    assert rows[1:] == [["embedfleet", "3", "2", "1", "2"], ["a", "2", "2", "1", "2"]]
