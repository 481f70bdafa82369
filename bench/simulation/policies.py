"""The rivals: policies that choose a server for a whole request, and HAProxy's central queue.

A request goes to its server at once, whatever waits there, as nginx and HAProxy without ``maxconn`` do.
Sources: nginx's upstream modules (round robin, least_conn, random, least_time); HAProxy's configuration manual.
"""

import random
from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count

from bench.simulation.clock import Clock
from bench.simulation.door import Ledger
from bench.simulation.replica import SimCall, SimReplica
from bench.workload import Arrival

# least_time: weight of a new response time, and the longest that counts.
_GAIN, _LONGEST_S = 0.05, 5.0


class Server:
    """A replica as its balancer knows it: connections under way, and how long they took."""

    def __init__(self, number: int, replica: SimReplica) -> None:
        self.number = number
        self.replica = replica
        self.under_way = 0
        self.mean_s = 0.0

    def took(self, seconds: float) -> None:
        """A request ended."""
        self.mean_s += _GAIN * (min(seconds, _LONGEST_S) - self.mean_s)


Choose = Callable[[list[Server]], Server]


def round_robin() -> Choose:
    """In turn."""
    turns = count()
    return lambda servers: servers[next(turns) % len(servers)]


def least_conn() -> Choose:
    """Fewest requests under way; of equals in turn, as nginx does."""
    turns = count()

    def choose(servers: list[Server]) -> Server:
        turn = next(turns)
        return min(servers, key=lambda server: (server.under_way, (server.number - turn) % len(servers)))

    return choose


def random_two() -> Choose:
    """Of two drawn at random the one with fewer requests under way."""
    source = random.Random(5)
    return lambda servers: min(source.sample(servers, 2), key=lambda server: server.under_way)


def least_time() -> Choose:
    """Least mean response time times requests under way and this one."""
    turns = count()

    def choose(servers: list[Server]) -> Server:
        turn = next(turns)
        return min(
            servers,
            key=lambda server: (server.mean_s * (server.under_way + 1), (server.number - turn) % len(servers)),
        )

    return choose


class Balancer:
    """Sends each request whole, at once.

    Args:
        choose: of the servers.
        cut: texts per request to which clients cut theirs, all sent at once; 0 for whole ones.
    """

    def __init__(self, clock: Clock, replicas: list[SimReplica], ledger: Ledger, choose: Choose, cut: int = 0) -> None:
        self._clock = clock
        self._servers = [Server(number, replica) for number, replica in enumerate(replicas)]
        self._ledger = ledger
        self._choose = choose
        self._cut = cut

    def arrive(self, arrival: Arrival) -> None:
        """See `Door`."""
        size = self._cut or len(arrival.tokens)
        pieces = [arrival.tokens[start : start + size] for start in range(0, len(arrival.tokens), size)]
        left = [len(pieces)]
        failed: list[int] = []

        def answered(status: int) -> None:
            left[0] -= 1
            if status != 200:
                failed.append(status)
            if left[0] == 0:
                if failed:
                    self._ledger.refuse(arrival, failed[0])
                else:
                    self._ledger.finish(arrival, self._clock.now)

        for piece in pieces:
            self._send(piece, answered)

    def _send(self, tokens: tuple[int, ...], answered: Callable[[int], None]) -> None:
        server, sent_at = self._choose(self._servers), self._clock.now

        def ended(status: int) -> None:
            server.under_way -= 1
            server.took(self._clock.now - sent_at)
            answered(status)

        server.under_way += 1
        server.replica.send(SimCall(tokens, ended))


class MaxConn:
    """HAProxy: ``maxconn`` per server, one queue before them, small requests first (``set-priority-class``)."""

    def __init__(self, clock: Clock, replicas: list[SimReplica], ledger: Ledger, most: int) -> None:
        self._clock = clock
        self._servers = [Server(number, replica) for number, replica in enumerate(replicas)]
        self._ledger = ledger
        self._most = most
        self._queue: list[tuple[bool, int, Arrival]] = []

    def arrive(self, arrival: Arrival) -> None:
        """See `Door`."""
        heappush(self._queue, (arrival.kind == "bulk", arrival.number, arrival))
        self._serve()

    def _serve(self) -> None:
        while self._queue:
            server = min(self._servers, key=lambda server: server.under_way)
            if server.under_way >= self._most:
                return
            self._send(server, heappop(self._queue)[2])

    def _send(self, server: Server, arrival: Arrival) -> None:
        def ended(status: int) -> None:
            server.under_way -= 1
            if status == 200:
                self._ledger.finish(arrival, self._clock.now)
            else:
                self._ledger.refuse(arrival, status)
            self._serve()

        server.under_way += 1
        server.replica.send(SimCall(arrival.tokens, ended))
