"""The largest load that meets an objective is found by bisection."""

import pytest

from embedfleet.simulation.objective import largest


def test_the_largest_load_is_found_by_halving():
    asked = []

    def holds(load):
        asked.append(load)
        return load <= 0.71

    assert largest(holds) == pytest.approx(0.70)
    assert len(asked) <= 6
    for steps in range(51):
        most = steps / 50 + 1e-9
        assert largest(lambda load, most=most: load <= most) == pytest.approx(steps / 50)
