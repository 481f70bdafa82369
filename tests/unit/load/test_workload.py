"""Schedules are the same for the same seed, and offer the given load."""

import pytest

from bench.fake_tei.cost import measured_cost
from embedfleet.load.workload import WORKLOADS, arrivals, exact_arrivals


@pytest.mark.parametrize("workload", WORKLOADS)
def test_a_schedule_offers_exactly_the_load_and_fills_the_run(workload):
    capacity = 4 * measured_cost(workload).tokens_per_s
    found = exact_arrivals(workload, 0.7, capacity, 20, seed=3)
    tokens = sum(arrival.total for arrival in found)
    assert abs(tokens / (capacity * 20) - 0.7) < 0.02
    times = [arrival.at_s for arrival in found]
    assert times == sorted(times)
    assert 17 < times[-1] <= 20
    assert [arrival.number for arrival in found] == list(range(len(found)))


def test_the_requests_are_those_of_the_plain_schedule():
    plain, exact = arrivals("mix", 0.85, 3e5, 60, seed=1), exact_arrivals("mix", 0.85, 3e5, 10, seed=1)
    assert [a.tokens for a in exact] == [a.tokens for a in plain][: len(exact)]
    assert exact == exact_arrivals("mix", 0.85, 3e5, 10, seed=1)
