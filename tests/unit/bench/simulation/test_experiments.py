"""Every experiment consists of cells that run."""

from dataclasses import replace

import pytest

from bench.simulation.experiments import EXPERIMENTS, Plan
from embedfleet.simulation.simulated_run import simulate


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_is_of_cells_that_run(name):
    experiment = EXPERIMENTS[name](Plan(loads=(0.85,), replicas=(2,), policies=("least_conn",), seconds=1))
    cell = min(experiment.cells.values(), key=lambda cell: cell.load * cell.replicas)
    assert simulate(replace(cell, seconds=1))["lost"] == 0
