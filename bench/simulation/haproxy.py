"""A model of HAProxy: ``maxconn`` per server, one queue in front of them, and priority classes.

Source: HAProxy's configuration manual (``maxconn``, ``balance leastconn``, ``http-request set-priority-class``,
``retry-on``). A server whose connection failed is avoided for as long as nginx avoids one; health checks would not
bring it back sooner.
"""

from collections.abc import Sequence
from heapq import heappop, heappush

from bench.simulation.nginx import BAD_GATEWAY, Server, least_conn
from embedfleet.load.workload import Arrival
from embedfleet.simulation.clock import Clock
from embedfleet.simulation.ledger import Ledger
from embedfleet.simulation.replica import OK, REFUSED, RESET, SimCall, SimReplica

RETRIES = 3
"""Retries after a failed connection; a request that was sent is not sent again."""


class Haproxy:
    """HAProxy as a front door.

    Args:
        clock: Clock of the simulation.
        replicas: Replicas behind it.
        ledger: Record of the arrivals' ends.
        most: ``maxconn`` of each server.
    """

    def __init__(self, clock: Clock, replicas: Sequence[SimReplica], ledger: Ledger, most: int) -> None:
        self._clock = clock
        self._servers = [Server(number, replica) for number, replica in enumerate(replicas)]
        self._ledger = ledger
        self._most = most
        self._choose = least_conn()
        self._queue: list[tuple[bool, int, int, Arrival]] = []

    def arrive(self, arrival: Arrival) -> None:
        """Take a client's request."""
        self._enqueue(arrival, 0)
        self._dispatch()

    def _enqueue(self, arrival: Arrival, tries: int) -> None:
        heappush(self._queue, (arrival.kind == "bulk", arrival.number, tries, arrival))

    def _dispatch(self) -> None:
        now = self._clock.now
        while self._queue:
            free = [s for s in self._servers if s.under_way < self._most and not s.is_out(now)]
            if not free:
                return
            _, _, tries, arrival = heappop(self._queue)
            self._send(self._choose(free), arrival, tries)

    def _send(self, server: Server, arrival: Arrival, tries: int) -> None:
        def ended(status: int) -> None:
            server.under_way -= 1
            server.failed = status in {RESET, REFUSED}
            server.checked_at = self._clock.now
            if status == OK:
                self._ledger.finish(arrival, self._clock.now)
            elif status == REFUSED and tries < RETRIES:
                self._enqueue(arrival, tries + 1)
            else:
                self._ledger.refuse(arrival, BAD_GATEWAY if server.failed else status)
            self._dispatch()

        server.under_way += 1
        server.replica.send(SimCall(arrival.tokens, ended))
