"""Two versions of ours under one fault: what is told of their runs."""

from bench.contestants import Site, of_source
from bench.mixed.before import CASES, Compared
from bench.mixed.faults import cases
from bench.mixed.run import RunResult
from embedfleet.load.tally import Outcome
from embedfleet.load.verdict import Verdict


def run(*latencies, kind="online", verdict=Verdict.RIGHT, void=False):
    outcomes = [Outcome(0.0, kind, 1, 1, 0.0, latency, verdict, (200,)) for latency in latencies]
    return RunResult(outcomes, {"void": void})


def both(*runs):
    return RunResult([outcome for one in runs for outcome in one.outcomes], runs[0].figures)


def test_each_schedule_is_a_pair_of_p99_of_right_online_answers():
    now = both(run(0.3, 0.1), run(9.0, kind="bulk"), run(8.0, verdict=Verdict.LOST))
    compared = Compared("kill", [(now, run(0.2, 0.15)), (run(0.1), run(0.4))])
    assert compared.p99_pairs() == [(300.0, 200.0), (100.0, 400.0)]


def test_all_schedules_together_have_one_p99_and_one_count():
    now = [run(*[0.1] * 98, 0.5), both(run(0.1), run(7.0, verdict=Verdict.FAILED))]
    compared = Compared("kill", list(zip(now, [run(0.2, void=True), run(0.25)], strict=True)))
    told = compared.told()
    assert told["online_p99_of_all_over_before"] == 0.4  # of a hundred answers the worst is beyond it
    assert (told["now"]["sent"], told["now"]["failed"], told["before"]["void"]) == (101, 1, 1)


def test_the_faults_that_are_compared_are_there():
    assert set(CASES) <= {case.name for case in cases()}


def test_another_checkouts_gateway_differs_in_where_it_is_found_alone(tmp_path):
    site = Site(80, (81, 82), tmp_path)
    one, other = (of_source(tmp_path / name, name).command(site) for name in ("a", "b"))
    assert (one[:2], other[:2]) == (["env", f"PYTHONPATH={tmp_path}/a"], ["env", f"PYTHONPATH={tmp_path}/b"])
    assert one[2:] == other[2:]
