"""Tables of an experiment."""

from bench.simulation.experiments import Experiment
from bench.simulation.policies import POLICIES
from bench.simulation.tables import ratio_table, table
from embedfleet.simulation.simulated_run import Cell


def results():
    cells = {(f"mix {policy}", "85%"): Cell(POLICIES[policy]) for policy in ("least_conn", "ours")}
    experiment = Experiment("slow", "a title", cells)
    figures = [{"online_p50_ms": 3.0, "online_p99_ms": 4200.0}, {"online_p50_ms": 3.0, "online_p99_ms": 84.0}]
    return experiment, dict(zip(cells, figures, strict=True))


def test_a_table_has_a_line_per_cell_and_only_columns_with_figures():
    text = table(*results())
    assert "a title" in text
    assert "bulk" not in text
    assert [line.split() for line in text.splitlines()[-2:]] == [
        ["mix", "least_conn", "85%", "3.0", "ms", "4.20", "s"],
        ["mix", "ours", "85%", "3.0", "ms", "84.0", "ms"],
    ]


def test_rivals_are_held_against_ours_in_the_same_place():
    assert ratio_table(*results()).splitlines()[-1].split() == ["mix", "least_conn", "85%", "1x", "50x"]
