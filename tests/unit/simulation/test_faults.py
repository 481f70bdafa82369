"""Simulated faults hit replicas at their times."""

from embedfleet.simulation.faults import Fault, strike
from embedfleet.simulation.policy import GatewayPolicy
from embedfleet.simulation.simulated_run import Cell, Run


def test_a_repeated_fault_affects_one_replica_after_the_other():
    run = Run(Cell(GatewayPolicy(), replicas=2))
    struck = []
    for number, replica in enumerate(run.replicas):
        replica.stop = lambda seconds, number=number: struck.append((number, seconds))
    strike(run.clock, run.replicas, [Fault("stop", 1, 2, every_s=10)], 30)
    run.clock.run(100)
    assert struck == [(0, 2), (1, 2), (0, 2)]
