"""Our gain over nginx with least_conn, beside that of exact knowledge."""

import pytest

from bench.mixed.cells import Cell
from bench.mixed.gains import gains, share

CELL = Cell("docs", 0.7, ("nginx-lc", "ours"), (1, 2), 1.0, 6.0)


def figures(p50, p99):
    return {f"{kind}_{name}_ms": value for kind in ("online", "bulk") for name, value in (("p50", p50), ("p99", p99))}


def test_measured_and_simulated_ratios_stand_in_one_row():
    found = gains([CELL], {CELL.name: {"nginx-lc": figures(100.0, 200.0), "ours": figures(90.0, 120.0)}})
    assert [(row["figure"], row["ours"]) for row in found] == [("p50", 0.9), ("p99", 0.6)]
    assert all(0 < row["exact"] < 1.1 for row in found)
    assert [row["share"] for row in found] == [share(row["ours"], row["exact"]) for row in found]


@pytest.mark.parametrize("contestants", [("ours",), ("nginx-lc",), ()])
def test_a_cell_without_both_contestants_has_no_row(contestants):
    assert gains([CELL], {CELL.name: {name: figures(1.0, 1.0) for name in contestants}}) == []


def test_the_mix_has_no_row():
    cell = Cell("mix", 0.7, ("nginx-lc", "ours"), (1,), 1.0, 6.0)
    assert gains([cell], {cell.name: {name: figures(1.0, 1.0) for name in cell.contestants}}) == []


@pytest.mark.parametrize(
    ("ours", "exact", "expected"),
    [(0.8, 0.7, 0.67), (0.7, 0.7, 1.0), (1.1, 0.8, -0.5), (0.9, 1.0, None), (None, 0.8, None), (0.9, None, None)],
)
def test_the_share_is_of_the_gain_of_exact_knowledge(ours, exact, expected):
    assert share(ours, exact) == expected
