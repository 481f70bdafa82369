"""The simulator is asked about what was measured, and about nothing before it."""

import pytest

from bench.fake_tei.cost import measured_cost
from bench.mixed.agreement import agreement
from bench.mixed.cells import Cell
from bench.simulation.policies import POLICIES
from embedfleet.simulation.simulated_run import Cell as SimCell
from embedfleet.simulation.simulated_run import simulate


@pytest.mark.parametrize("warm_up_s", [1.0, 8.0])
def test_the_warm_up_is_left_out_of_both(warm_up_s):
    """At 120 % queues grow: other seconds are other figures."""
    cell = Cell("mix", 1.2, ("nginx-lc",), (1,), warm_up_s, 10.0 - warm_up_s)
    twin = SimCell(
        POLICIES["least_conn"], load=1.2, seconds=10.0, settling=warm_up_s / 10, seed=1, cost=measured_cost("mix")
    )
    measured = {cell.name: {"nginx-lc": simulate(twin)}}
    (row,) = agreement([cell], measured, permits=100_000)
    assert (row["online_p50_ms"], row["online_p99_ms"], row["bulk_p50_ms"]) == (1.0, 1.0, 1.0)
