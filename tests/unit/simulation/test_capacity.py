"""Capacity is the throughput of a replica whose queue is never empty."""

import pytest

from embedfleet.simulation.batch_cost import BatchCost
from embedfleet.simulation.capacity import tokens_per_s


def test_padding_costs_capacity_unless_texts_are_equal():
    cost = BatchCost(padded=True)
    assert tokens_per_s("docs", BatchCost()) == cost.tokens_per_s
    assert tokens_per_s("docs", cost) / cost.tokens_per_s == pytest.approx(0.33, abs=0.02)
