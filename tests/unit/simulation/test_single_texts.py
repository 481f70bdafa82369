"""Requests of one text alone, where a balancer can only choose the replica: ours against nginx's least_conn."""

from statistics import mean

import pytest

from bench.simulation.nginx import least_conn
from bench.simulation.policies import NginxPolicy
from embedfleet.simulation.batch_cost import BatchCost
from embedfleet.simulation.policy import GatewayPolicy
from embedfleet.simulation.simulated_run import Cell, simulate

COST = BatchCost(a_s=0.012, b_s=26.7e-6)
SECONDS = {"short": 4.0, "docs": 20.0}


def latencies(policy, workload, **cell):
    runs = [
        simulate(Cell(policy, workload, seconds=SECONDS[workload], cost=COST, seed=seed, **cell)) for seed in (1, 2)
    ]
    return [mean(run[name] for run in runs) for name in ("online_p50_ms", "online_p99_ms")]


@pytest.mark.parametrize("is_ahead", [True, False])
@pytest.mark.parametrize(
    ("workload", "load", "slowness"), [("short", 0.5, ()), ("short", 0.7, ()), ("docs", 0.7, ()), ("docs", 0.5, (2.0,))]
)
def test_single_texts_are_answered_sooner_than_behind_least_conn(workload, load, slowness, is_ahead):
    """A former version had 1.0 of least_conn's p50 and up to 1.67 of its p99 for short queries."""
    ours = latencies(GatewayPolicy(), workload, load=load, slowness=slowness, ahead=is_ahead)
    theirs = latencies(NginxPolicy(least_conn), workload, load=load, slowness=slowness, ahead=is_ahead)
    assert ours[0] < 0.95 * theirs[0]
    assert ours[1] < 1.0 * theirs[1]
