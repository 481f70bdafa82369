"""A ledger records one end for each arrival."""

import pytest

from embedfleet.load.workload import Arrival
from embedfleet.simulation.ledger import Ledger


def test_an_arrival_cannot_end_twice():
    found, arrival = Ledger(), Arrival(0, 0.0, "online", (1,))
    found.finish(arrival, 1.0)
    with pytest.raises(RuntimeError, match="arrival 0 ended twice"):
        found.refuse(arrival, 429)
