"""The figures of a run follow from the outcomes of its requests."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedfleet.load.tally import Objective, Outcome, counts, quantile, summary
from embedfleet.load.verdict import Verdict


@given(st.lists(st.floats(0, 1e3), min_size=1), st.floats(0.01, 1))
def test_a_quantile_is_the_least_value_that_enough_do_not_exceed(values, share):
    found = quantile(values, share)
    assert sum(value <= found for value in values) >= share * len(values) - 1e-9
    assert sum(value < found for value in values) < share * len(values)


def outcome(at_s, latency_s=0.1, verdict=Verdict.RIGHT, **more):
    fields = {"kind": "online", "tokens": 100, "texts": 1, "late_s": 0.0, "statuses": (200,)} | more
    return Outcome(at_s=at_s, latency_s=latency_s, verdict=verdict, **fields)


def figures(outcomes, replicas_late_s=(0.0,)):
    return summary(
        outcomes,
        seconds=10,
        warm_up_s=2,
        capacity=100,
        objective=Objective(online_s=0.25),
        replicas_late_s=replicas_late_s,
    )


def test_counts_are_of_all_requests_and_times_of_those_after_the_warm_up():
    found = figures([outcome(1, 5.0), outcome(3, 0.2), outcome(4, 0.4), outcome(5, verdict=Verdict.WRONG)])
    assert found["counts"] == {"sent": 4, "failed": 0, "wrong": 1, "out_of_order": 0, "refused": 0, "lost": 0}
    assert found["online"]["p50_ms"] == 200
    assert found["online"]["p99_ms"] == 400
    assert found["online"]["in_objective"] == pytest.approx(1 / 3, abs=1e-4)
    assert found["online"]["over_1s"] == 1  # the wrong one, because its client still waits for a right answer
    assert found["useful_of_capacity"] == 100 / 800


def test_failed_counts_every_request_without_a_200():
    verdicts = [Verdict.REFUSED, Verdict.LOST, Verdict.FAILED, Verdict.OUT_OF_ORDER, Verdict.RIGHT]
    found = counts(outcome(3, verdict=verdict) for verdict in verdicts)
    assert found == {"sent": 5, "failed": 3, "wrong": 0, "out_of_order": 1, "refused": 1, "lost": 1}


@pytest.mark.parametrize(
    ("sender", "replicas", "void"), [(0.001, 0.001, False), (0.003, 0.0, True), (0.0, 0.003, True)]
)
def test_a_run_that_was_late_is_void(sender, replicas, void):
    assert figures([outcome(3, late_s=sender)], [replicas])["void"] is void


def test_refusals_are_held_to_their_retry_after():
    found = figures(
        [
            outcome(3, verdict=Verdict.REFUSED, again=Verdict.RIGHT),
            outcome(4, verdict=Verdict.REFUSED, again=Verdict.REFUSED),
            outcome(5, verdict=Verdict.REFUSED, has_retry_after=False),
        ]
    )
    assert (found["refused_without_retry_after"], found["obeyed"], found["then_accepted"]) == (1, 2, 1)
