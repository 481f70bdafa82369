"""A reference with exact knowledge: each request goes whole to the replica that will have computed it first.

It knows the running batch, the queue and the tokens of every text, which no balancer can know, and handles no failures.
"""

from collections.abc import Sequence

from embedfleet.load.workload import Arrival
from embedfleet.simulation.clock import Clock
from embedfleet.simulation.ledger import Ledger
from embedfleet.simulation.replica import OK, SimCall, SimReplica


class Exact:
    """The reference as a front door."""

    def __init__(self, clock: Clock, replicas: Sequence[SimReplica], ledger: Ledger) -> None:
        self._clock = clock
        self._replicas = replicas
        self._ledger = ledger

    def arrive(self, arrival: Arrival) -> None:
        """Send a client's request to the replica that will have computed it first."""

        def ended(status: int) -> None:
            assert status == OK, f"the reference knows nothing of failures, got {status}"
            self._ledger.finish(arrival, self._clock.now)

        replica = min(self._replicas, key=lambda replica: replica.seconds_until(arrival.total))
        replica.send(SimCall(arrival.tokens, ended))
