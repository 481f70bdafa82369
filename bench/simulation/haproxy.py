"""HAProxy as a rival: ``maxconn`` per server, one queue before them, and priority classes.

Source: HAProxy's configuration manual (``maxconn``, ``balance leastconn``, ``http-request set-priority-class``,
``retry-on``). A server that refused a connection is left alone as nginx would; checks would do it no sooner.
"""

from collections.abc import Sequence
from heapq import heappop, heappush

from bench.simulation.clock import Clock
from bench.simulation.door import Ledger
from bench.simulation.nginx import BAD_GATEWAY, Server, least_conn
from bench.simulation.replica import OK, REFUSED, RESET, SimCall, SimReplica
from bench.workload import Arrival

RETRIES = 3
"""After a connection that failed; a request that was sent is not sent again."""


class Haproxy:
    """See `Door`.

    Args:
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
        """See `Door`."""
        self._wait(arrival, 0)
        self._serve()

    def _wait(self, arrival: Arrival, tries: int) -> None:
        heappush(self._queue, (arrival.kind == "bulk", arrival.number, tries, arrival))

    def _serve(self) -> None:
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
                self._wait(arrival, tries + 1)
            else:
                self._ledger.refuse(arrival, BAD_GATEWAY if server.failed else status)
            self._serve()

        server.under_way += 1
        server.replica.send(SimCall(arrival.tokens, ended))
