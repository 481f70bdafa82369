"""From ledgers to tables and images."""

import xml.etree.ElementTree as ET

import pytest

from bench.simulation.cell import Cell
from bench.simulation.chart import chart
from bench.simulation.door import Ledger
from bench.simulation.experiments import Experiment
from bench.simulation.figures import medians, percentile, summarize
from bench.simulation.objective import largest
from bench.simulation.tables import ratio_table, table
from bench.workload import Arrival


def test_percentiles_are_of_the_nearest_rank():
    values = [float(value) for value in range(100, 0, -1)]
    assert (percentile(values, 0.5), percentile(values, 0.99), percentile([7.0], 0.99)) == (51.0, 100.0, 7.0)


def ledger(latencies, refused=()) -> Ledger:
    found = Ledger()
    found.latency_s |= latencies
    found.refused |= dict.fromkeys(refused, 429)
    return found


def test_a_run_is_summed_up_by_kind():
    asked = [Arrival(number, 2.0 + number, "online", (10,)) for number in range(4)]
    asked += [Arrival(4, 8.0, "bulk", (500, 500)), Arrival(5, 9.0, "bulk", (500, 500))]
    figures = summarize(asked, ledger({0: 0.1, 1: 0.2, 2: 1.5, 4: 9.0}, refused=[5]), 1, 10, capacity=204)
    assert figures["online_in_objective"] == 0.5
    assert figures["online_over_1s"] == 2  # one was never answered
    assert figures["online_over_5s"] == 1
    assert figures["online_p99_ms"] == float("inf")
    assert (figures["bulk_refused"], figures["bulk_in_objective"], figures["bulk_p50_ms"]) == (0.5, 0.5, 9000)
    assert (figures["asked"], figures["lost"], figures["refused"]) == (6, 1, 1)
    assert figures["useful"] == pytest.approx((10 + 10) / (0.9 * 2040))  # the batch ended after the last arrival


def test_the_start_does_not_count_in_latencies():
    asked = [Arrival(0, 0.5, "online", (10,)), Arrival(1, 5.0, "online", (10,))]
    assert summarize(asked, ledger({0: 9.0, 1: 0.1}), 1, 10, capacity=1)["online_p99_ms"] == 100


def test_an_arrival_cannot_end_twice():
    found, arrival = Ledger(), Arrival(0, 0.0, "online", (1,))
    found.finish(arrival, 1.0)
    with pytest.raises(RuntimeError, match="arrival 0 ended twice"):
        found.refuse(arrival, 429)


def test_medians_are_of_each_figure():
    assert medians([{"a": 1.0}, {"a": 5.0, "b": 2.0}, {"a": 3.0}]) == {"a": 3.0, "b": 2.0}


def results():
    cells = {(f"mix {policy}", "85%"): Cell(policy) for policy in ("least_conn", "ours")}
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


def test_the_largest_load_is_found_by_halving():
    asked = []

    def holds(load):
        asked.append(load)
        return load <= 0.71

    assert largest(holds) == pytest.approx(0.70)
    assert len(asked) <= 6
    for steps in range(51):
        most = steps / 50 + 1e-9
        assert largest(lambda load, most=most: load <= most) == pytest.approx(steps / 50)


def test_an_image_has_a_line_and_a_name_for_each_policy_and_skips_what_never_ended():
    lines = {"a_b": [(0.5, 10.0), (0.85, 1000.0)], "ours & co": [(0.5, 5.0), (0.85, float("inf"))]}
    image = ET.fromstring(chart("title", "load", "p99", lines, own="ours & co", tick=".0%"))
    space = {"svg": "http://www.w3.org/2000/svg"}
    corners = [line.get("points").split() for line in image.findall("svg:polyline", space)]
    assert [len(points) for points in corners] == [2, 1]
    low, high = (float(point.split(",")[1]) for point in corners[0])
    assert low > high  # SVG counts downwards
    words = {text.text for text in image.iter("{http://www.w3.org/2000/svg}text")}
    assert {"title", "a b", "ours & co", "50%", "85%", "10 ms", "1 s"} <= words


def test_equal_steps_of_ten_are_equally_far_apart():
    image = ET.fromstring(chart("t", "x", "y", {"a": [(2, 1.0), (4, 10.0), (8, 100.0)]}, own="a"))
    points = image.find("{http://www.w3.org/2000/svg}polyline").get("points").split()
    one, two, three = (float(point.split(",")[1]) for point in points)
    assert one - two == pytest.approx(two - three, abs=0.1)


def test_an_image_of_nothing_is_an_error():
    with pytest.raises(ValueError, match="nothing to draw in 'title'"):
        chart("title", "load", "p99", {"a": [(1, float("inf"))]}, own="a")
