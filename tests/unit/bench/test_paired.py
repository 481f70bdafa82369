"""How two versions are held against each other."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.measuring.paired import ratio, table, told, turns

COSTS = st.floats(0.01, 1e6)


def test_the_ratio_is_the_median_of_each_rounds_own():
    # Of the medians it would be 30 / 20: a round that was slow for both says nothing of either.
    assert ratio([(10.0, 10.0), (30.0, 20.0), (44.0, 40.0)]).median == pytest.approx(1.1)


@pytest.mark.parametrize(
    ("rounds", "lowest", "highest"),
    [(6, 1, 6), (8, 1, 8), (9, 2, 8), (10, 2, 9), (12, 3, 10), (15, 4, 12), (20, 6, 15), (100, 40, 61)],
)
def test_the_interval_is_between_the_ranks_that_tables_of_the_sign_test_have(rounds, lowest, highest):
    assert ratio([(float(rank), 1.0) for rank in range(1, rounds + 1)]).interval == (lowest, highest)


@pytest.mark.parametrize("rounds", [1, 2, 5])
def test_few_rounds_have_no_interval(rounds):
    assert ratio([(1.0, 1.0)] * rounds).interval is None


def test_the_interval_holds_the_true_median_as_often_as_it_says():
    numbers = random.Random(1)
    held = 0
    for _ in range(2000):
        interval = ratio([(numbers.lognormvariate(0.02, 0.3), 1.0) for _ in range(12)]).interval
        assert interval is not None
        held += interval[0] <= 2.718281828**0.02 <= interval[1]
    assert 0.94 <= held / 2000 <= 0.98  # 96.1 % of twelve


@given(st.lists(st.tuples(COSTS, COSTS), min_size=1, max_size=40))
def test_the_other_way_round_all_is_inverse_and_the_order_of_rounds_is_nothing(pairs):
    one, other = ratio(pairs), ratio([(before, now) for now, before in reversed(pairs)])
    if one.interval is not None:
        assert other.interval == pytest.approx((1 / one.interval[1], 1 / one.interval[0]))
        assert one.interval[0] <= one.median <= one.interval[1]
    if len(pairs) % 2:
        assert other.median == pytest.approx(1 / one.median)


def test_each_version_has_the_same_share_of_a_steady_drift():
    for number in range(2):
        order = turns(number)
        assert sum(place for place, turn in enumerate(order) if turn) == sum(
            place for place, turn in enumerate(order) if not turn
        )
    assert turns(0)[0] != turns(1)[0]


def test_one_figure_beyond_the_bound_is_worse_and_so_is_the_whole():
    pairs = {"steady": [(103.0, 100.0)] * 10, "dearer": [(103.1, 100.0)] * 10}
    found = told(pairs)
    assert found["ratios"] == {"steady_over_before": 1.03, "dearer_over_before": 1.031}
    assert [found["figures"][name]["not_worse"] for name in pairs] == [True, False]
    assert found["figures"]["dearer"]["interval"] == [1.031, 1.031]
    assert (found["not_worse"], told({"steady": pairs["steady"]})["not_worse"]) == (False, True)
    lines = table(pairs).splitlines()
    assert ["WORSE" in line for line in lines] == [False, True]


def test_nothing_measured_is_not_said_to_be_no_worse():
    assert told({})["not_worse"] is False
