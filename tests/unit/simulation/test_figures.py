"""The figures of a simulated run follow from its ledger."""

import pytest

from embedfleet.load.workload import Arrival
from embedfleet.simulation.figures import medians, percentile, summarize
from embedfleet.simulation.ledger import Ledger


def test_a_percentile_is_the_value_at_a_share_of_the_sorted_values():
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


def test_medians_are_of_each_figure():
    assert medians([{"a": 1.0}, {"a": 5.0, "b": 2.0}, {"a": 3.0}]) == {"a": 3.0, "b": 2.0}
