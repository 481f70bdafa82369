"""Whole runs: nothing is lost, nothing is left to chance, and what theory knows comes out."""

from dataclasses import replace

import pytest

from bench.simulation.capacity import tokens_per_s
from bench.simulation.cell import Cell, Run, simulate
from bench.simulation.experiments import EXPERIMENTS, Plan
from bench.simulation.faults import Fault, strike
from bench.simulation.policies import POLICIES
from bench.workload import Arrival, Cost


@pytest.mark.parametrize("policy", POLICIES)
def test_every_arrival_ends_once_and_the_same_seed_gives_the_same(policy):
    cell = Cell(policy, load=0.7, replicas=3, seconds=5, seed=4)
    asked = cell.arrivals()
    first, second = (Run(cell).play(asked) for _ in range(2))
    assert len(first.latency_s) == len(asked)
    assert first == second


def test_another_seed_gives_something_else():
    cell = Cell("least_conn", seconds=5)
    assert simulate(cell) != simulate(replace(cell, seed=1))


@pytest.mark.parametrize("policy", ["round_robin", "least_conn_cut_32", "haproxy_maxconn_4_priority", "ours"])
def test_every_arrival_ends_once_whatever_befalls_replicas(policy):
    faults = (Fault("crash", 2, 3), Fault("stop", 4, 2, replica=1), Fault("throttle", 6, 2, replica=2, every_s=3))
    cell = Cell(policy, load=0.7, replicas=3, seconds=10, seed=4, faults=faults, permits=True)
    asked = cell.arrivals()
    ledger = Run(cell).play(asked)
    assert ledger.latency_s.keys() | ledger.refused.keys() == {arrival.number for arrival in asked}


@pytest.mark.parametrize("policy", POLICIES)
def test_an_idle_fleet_answers_after_one_batch(policy):
    cell = Cell(policy)
    ledger = Run(cell).play([Arrival(0, 0.5, "online", (20,))])
    assert ledger.latency_s[0] == pytest.approx(cell.cost.seconds([20]) + 0.0005)


def test_a_queue_with_one_request_per_batch_waits_as_the_formula_for_equal_services_says():
    """M/D/1: the mean wait is load / (2 (1 - load)) services. One text fills a batch here, so none are shared."""
    cost = Cost(a_s=0.010, b_s=0.0, batch_tokens=1)
    service, load = 0.010, 0.7
    cell = Cell("round_robin", "docs", replicas=1, cost=cost)
    asked = [
        replace(arrival, number=number, at_s=arrival.at_s, tokens=(1,))
        for number, arrival in enumerate(_poisson(rate=load / service, seconds=400))
    ]
    waits = Run(replace(cell, seconds=400)).play(asked).latency_s.values()
    mean = sum(waits) / len(waits) - 0.0005 - service
    assert mean == pytest.approx(service * load / (2 * (1 - load)), rel=0.05)


def _poisson(rate: float, seconds: float) -> list[Arrival]:
    """By the generator of the workloads, at a load that gives the rate."""
    from bench.workload import WORKLOADS, arrivals, mean_tokens

    return arrivals("short", rate * mean_tokens(WORKLOADS["short"]) / 1e6, 1e6, seconds, 3)


def test_busy_replicas_work_off_what_they_are_asked():
    figures = simulate(Cell("round_robin", "docs", load=0.5, seconds=5))
    assert figures["useful"] == pytest.approx(0.5, rel=0.05)


def test_a_replica_that_is_twice_as_slow_counts_half():
    whole = Cell("ours").capacity
    assert Cell("ours", slowness=(2.0,)).capacity == pytest.approx(whole * 3.5 / 4)


def test_padding_costs_capacity_unless_texts_are_equal():
    cost = Cost(padded=True)
    assert tokens_per_s("docs", Cost()) == cost.tokens_per_s
    assert tokens_per_s("docs", cost) / cost.tokens_per_s == pytest.approx(0.33, abs=0.02)


def test_a_repeated_fault_meets_one_replica_after_the_other():
    run = Run(Cell("round_robin", replicas=2))
    struck = []
    for number, replica in enumerate(run.replicas):
        replica.stop = lambda seconds, number=number: struck.append((number, seconds))
    strike(run.clock, run.replicas, [Fault("stop", 1, 2, every_s=10)], 30)
    run.clock.run(100)
    assert struck == [(0, 2), (1, 2), (0, 2)]


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_is_of_cells_that_run(name):
    experiment = EXPERIMENTS[name](Plan(loads=(0.85,), replicas=(2,), policies=("least_conn",), seconds=1))
    cell = min(experiment.cells.values(), key=lambda cell: cell.load * cell.replicas)
    assert simulate(replace(cell, seconds=1))["lost"] == 0
    assert set(POLICIES) >= {cell.policy for cell in experiment.cells.values()}
