"""Requests of one kind: our gateway is never worse than least_conn, whatever the fleet, in simulation."""

from dataclasses import replace
from statistics import mean

from hypothesis import given, settings
from hypothesis import strategies as st

from bench.simulation.nginx import least_conn
from bench.simulation.policies import NginxPolicy
from embedfleet.load.workload import WORKLOADS, mean_tokens
from embedfleet.simulation.batch_cost import BatchCost
from embedfleet.simulation.policy import GatewayPolicy
from embedfleet.simulation.simulated_run import Cell, simulate

KINDS = {"short": "online", "docs": "online", "rerank": "rerank", "title-batches": "bulk"}
REQUESTS = {"short": 8000, "docs": 4000, "rerank": 1500, "title-batches": 800}
COSTS = [BatchCost(), BatchCost(a_s=0.012, b_s=26.7e-6)]
SPREAD = 1.08  # of two seeds this short


@st.composite
def cells(draw):
    replicas = draw(st.sampled_from([2, 3, 4, 8, 16, 64]))
    slowness = draw(st.one_of(st.just([]), st.lists(st.sampled_from([1.0, 1.5, 2.0, 3.0]), max_size=replicas // 2)))
    cell = Cell(
        NginxPolicy(least_conn),
        draw(st.sampled_from(sorted(REQUESTS))),
        load=draw(st.sampled_from([0.3, 0.5, 0.7, 0.85, 0.95])),
        replicas=replicas,
        cost=draw(st.sampled_from(COSTS)),
        ahead=draw(st.booleans()),
        slowness=tuple(slowness),
        permits=100_000,
        estimate_error=draw(st.sampled_from([0.0, 0.3])),
        settling=0.2,
    )
    requests = REQUESTS[cell.workload] * (2 if cell.load > 0.9 else 1)
    tokens = requests * mean_tokens(WORKLOADS[cell.workload])
    return replace(cell, seconds=max(1.0, tokens / (cell.load * cell.capacity)))


def latencies(cell):
    kind = KINDS[cell.workload]
    runs = [simulate(replace(cell, seed=seed)) for seed in (1, 2)]
    return [mean(run[f"{kind}_{name}_ms"] for run in runs) for name in ("p50", "p99")]


@settings(max_examples=10)
@given(cells())
def test_p99_and_p50_are_not_above_those_of_least_conn(cell):
    """With unequal replicas p50 makes way for p99, as it does for a balancer with exact knowledge."""
    ours, theirs = latencies(replace(cell, policy=GatewayPolicy())), latencies(cell)
    assert ours[1] <= SPREAD * theirs[1]
    if not cell.slowness and (cell.load < 0.9 or cell.workload != "title-batches"):
        assert ours[0] <= SPREAD * theirs[0]
