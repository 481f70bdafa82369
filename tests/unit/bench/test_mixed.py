"""What is run, and what is told of it."""

import pytest

from bench.mixed.cells import QUICK, WHOLE, Cell, total_s
from bench.mixed.faults import cases
from bench.mixed.medians import median_figures, ratios, throughput
from bench.mixed.plots import draw
from bench.mixed.tables import cell_table


def figures(p99, bulk=1000.0, *, void=False):
    times = {"p50_ms": 1.0, "in_objective": 1.0}
    return {
        "void": void,
        "counts": {"sent": 10, "failed": 1, "wrong": 0, "out_of_order": 0, "refused": 1, "lost": 0},
        "online": times | {"p99_ms": p99},
        "bulk": times | {"p99_ms": bulk},
        "useful_of_capacity": 0.8,
        "computed_of_capacity": 0.9,
        "late_ms": {"generator": 0.1, "replicas": 0.2},
    }


def test_every_contestant_gets_every_seed_and_none_is_always_first():
    cell = Cell("mix", 0.85, ("a", "b", "c"), (1, 2, 3), 1.0, 1.0)
    runs = list(cell.runs())
    assert len(runs) == len(set(runs)) == 9
    assert [name for _, name in runs[::3]] == ["a", "b", "c"]
    assert [seed for seed, _ in runs] == [1, 1, 1, 2, 2, 2, 3, 3, 3]


def test_the_quick_run_is_under_a_minute_and_the_whole_under_half_an_hour():
    faults_s = sum(case.seconds + 6 for case in cases())
    assert total_s(QUICK) < 60
    assert total_s(WHOLE) + faults_s < 30 * 60


def test_void_runs_are_taken_out_of_the_medians_and_counted():
    found = median_figures([figures(100.0), figures(9000.0, void=True), figures(300.0)])
    assert found["online_p99_ms"] == 200
    assert found["online_p99_range_ms"] == [100, 300]
    assert (found["runs"], found["void"], found["sent"], found["failed"]) == (3, 1, 30, 3)


def test_where_all_runs_are_void_their_medians_are_told_with_it():
    found = median_figures([figures(100.0, void=True)])
    assert (found["online_p99_ms"], found["void"]) == (100, 1)


def test_ratios_are_against_the_best_of_each_kind():
    cell = {
        "nginx-lc": median_figures([figures(4000.0, 6000.0)]),
        "nginx-rr": median_figures([figures(8000.0, 5000.0)]),
        "nginx-lc+cut": median_figures([figures(2000.0)]),
        "haproxy-lc": median_figures([figures(3000.0)]),
        "ours": median_figures([figures(100.0, 3000.0)]),
    }
    assert ratios(cell) == {
        "online_p99_nginx_over_ours": 40,
        "online_p99_haproxy_over_ours": 30,
        "online_p99_cutting_clients_over_ours": 20,
        "bulk_p99_ours_over_least_conn": 0.5,
    }


@pytest.mark.parametrize("missing", ["ours", "nginx-lc"])
def test_what_did_not_run_is_null(missing):
    cell = {name: median_figures([figures(100.0)]) for name in ("ours", "nginx-lc") if name != missing}
    assert set(ratios(cell).values()) == {None}


def test_a_table_has_a_line_for_each_contestant_of_equal_length():
    medians = {"ours": median_figures([figures(100.0)]), "nginx-lc": median_figures([figures(None)])}
    told = cell_table("mix 85 %", medians)
    lines = told.splitlines()
    assert [line.split()[0] for line in lines[1:]] == ["ours", "nginx-lc"]
    assert len({len(line) for line in lines}) == 1


def test_throughput_at_saturation_is_held_against_the_fullest_rival():
    shares = {"ours": 0.96, "nginx-lc": 0.99, "haproxy-lc": 0.98, "ours-nosplit": 0.995}
    cell = {name: {"computed_of_capacity": share} for name, share in shares.items()}
    assert throughput(cell) == {"computed_at_120_ours_over_best": 0.97}
    assert throughput({}) == {"computed_at_120_ours_over_best": None}


def test_an_image_has_those_that_were_measured_at_several_loads(tmp_path):
    ran = [Cell("mix", load, ("ours", "nginx-lc"), (1,), 1.0, 1.0) for load in (0.7, 0.85)]
    ran.append(Cell("short", 0.7, ("ours",), (1,), 1.0, 1.0))
    measured = {
        "mix 70 %": {"ours": {"online_p99_ms": 50.0, "bulk_p99_ms": 900.0}},
        "mix 85 %": {
            "ours": {"online_p99_ms": 90.0, "bulk_p99_ms": 1000.0},
            "nginx-lc": {"online_p99_ms": 4000.0, "bulk_p99_ms": 5000.0},
        },
        "short 70 %": {"ours": {"online_p99_ms": 1.0, "bulk_p99_ms": None}},
    }
    draw(tmp_path, ran, measured)
    image = (tmp_path / "online.svg").read_text()
    assert image.count("<polyline") == 1
    assert "70%" in image
    assert "85%" in image
    assert (tmp_path / "bulk.svg").exists()
