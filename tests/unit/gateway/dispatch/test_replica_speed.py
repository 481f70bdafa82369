"""Batch costs, and the slowness of a replica relative to its cost."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedfleet.gateway.dispatch.replica_speed import BatchCost, Pace, fit

NOW = 100.0


def test_a_cost_is_found_from_measured_batches():
    cost = fit([(tokens, 0.004 + tokens / 50_000) for tokens in (8, 512, 8192)])
    assert cost is not None
    assert cost.a_s == pytest.approx(0.004)
    assert cost.b_s == pytest.approx(1 / 50_000)
    assert fit([(8, 0.1), (8, 0.2)]) is None


def test_a_replica_that_takes_twice_its_cost_is_found_to_be_slow():
    pace, cost, now = Pace(), BatchCost(), NOW
    for _ in range(200):
        sent_at, now = now, now + 2 * (cost.a_s + cost.b_s * 8000)
        pace.learn(8000, sent_at, now)
    assert pace.slowness == pytest.approx(2.0, rel=0.25)


BATCHES = st.lists(
    st.tuples(st.lists(st.integers(10, 4000), min_size=1, max_size=6), st.floats(0, 0.5), st.booleans()), min_size=1
)


@given(BATCHES)
def test_a_replica_that_keeps_to_its_cost_is_not_found_slow_or_fast(batches):
    """This holds with and without waiting work. In a former version a biased estimate made equal replicas unequal."""
    pace, cost, ended = Pace(), BatchCost(), NOW
    for tokens, pause, waits in batches:
        sent_at = ended - 0.01 if waits and ended > NOW else ended + pause
        ended = max(sent_at, ended) + cost.a_s + cost.b_s * sum(tokens)
        for one in tokens:
            pace.learn(one, sent_at, ended)
    assert pace.slowness == pytest.approx(1.0, abs=0.01)


def test_one_stall_does_not_make_a_replica_slow():
    pace, cost, now = Pace(), BatchCost(), NOW
    for number in range(100):
        took = 60.0 if number == 50 else cost.a_s + cost.b_s * 8000
        sent_at, now = now, now + took
        pace.learn(8000, sent_at, now)
    assert pace.slowness < 1.5


@pytest.mark.parametrize(("cost", "tokens"), [(BatchCost(0.006, 1 / 75_000), 9000), (BatchCost(1e-4, 1 / 1400), 42)])
def test_a_chunk_takes_twenty_times_the_fixed_cost_of_a_batch_or_a_call(cost, tokens):
    """On a CPU the fixed cost of a batch is tiny: a former version sent 500 short texts in 159 calls."""
    assert cost.chunk_tokens == pytest.approx(tokens, rel=0.01)
