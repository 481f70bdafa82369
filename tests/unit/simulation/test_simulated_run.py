"""Whole simulated runs lose nothing, are reproducible, and agree with queueing theory."""

from dataclasses import replace

import pytest

from bench.simulation.policies import POLICIES
from embedfleet.load.workload import WORKLOADS, Arrival, arrivals, mean_tokens
from embedfleet.simulation.batch_cost import BatchCost
from embedfleet.simulation.faults import Fault
from embedfleet.simulation.simulated_run import Cell, Run, simulate


@pytest.mark.parametrize("policy", POLICIES)
def test_every_arrival_ends_once_and_the_same_seed_gives_the_same(policy):
    cell = Cell(POLICIES[policy], load=0.7, replicas=3, seconds=5, seed=4)
    asked = cell.arrivals()
    first, second = (Run(cell).play(asked) for _ in range(2))
    assert len(first.latency_s) == len(asked)
    assert first == second


def test_another_seed_gives_something_else():
    cell = Cell(POLICIES["least_conn"], seconds=5)
    assert simulate(cell) != simulate(replace(cell, seed=1))


@pytest.mark.parametrize("policy", ["round_robin", "least_conn_cut_32", "haproxy_maxconn_4_priority", "ours"])
def test_every_arrival_ends_once_under_any_faults(policy):
    faults = (Fault("crash", 2, 3), Fault("stop", 4, 2, replica=1), Fault("throttle", 6, 2, replica=2, every_s=3))
    cell = Cell(POLICIES[policy], load=0.7, replicas=3, seconds=10, seed=4, faults=faults, permits=512)
    asked = cell.arrivals()
    ledger = Run(cell).play(asked)
    assert ledger.latency_s.keys() | ledger.refused.keys() == {arrival.number for arrival in asked}


@pytest.mark.parametrize("policy", POLICIES)
def test_an_idle_fleet_answers_after_one_batch(policy):
    cell = Cell(POLICIES[policy])
    ledger = Run(cell).play([Arrival(0, 0.5, "online", (20,))])
    assert ledger.latency_s[0] == pytest.approx(cell.cost.seconds([20]) + 0.0005)


def test_a_queue_with_one_request_per_batch_waits_as_long_as_theory_says():
    """M/D/1: the mean wait is load / (2 (1 - load)) service times. One text fills a batch here, so each runs alone."""
    cost = BatchCost(a_s=0.010, b_s=0.0, batch_tokens=1)
    service, load = 0.010, 0.7
    cell = Cell(POLICIES["round_robin"], "docs", replicas=1, cost=cost)
    asked = [
        replace(arrival, number=number, at_s=arrival.at_s, tokens=(1,))
        for number, arrival in enumerate(_poisson(rate=load / service, seconds=400))
    ]
    waits = Run(replace(cell, seconds=400)).play(asked).latency_s.values()
    mean = sum(waits) / len(waits) - 0.0005 - service
    assert mean == pytest.approx(service * load / (2 * (1 - load)), rel=0.05)


def _poisson(rate: float, seconds: float) -> list[Arrival]:
    """Poisson arrivals of the workloads' generator, at a load that gives the rate."""
    return arrivals("short", rate * mean_tokens(WORKLOADS["short"]) / 1e6, 1e6, seconds, 3)


def test_busy_replicas_compute_the_offered_load():
    figures = simulate(Cell(POLICIES["round_robin"], "docs", load=0.5, seconds=5))
    assert figures["useful"] == pytest.approx(0.5, rel=0.05)


def test_a_replica_that_is_twice_as_slow_counts_half():
    whole = Cell(POLICIES["ours"]).capacity
    assert Cell(POLICIES["ours"], slowness=(2.0,)).capacity == pytest.approx(whole * 3.5 / 4)
