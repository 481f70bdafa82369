"""A model of nginx, which chooses a server for a whole request at once, however much work waits there.

Sources: ngx_http_upstream_round_robin.c, …_least_conn_module.c, …_random_module.c and …_least_time_module.c of nginx
1.31; the manual of ngx_http_proxy_module for retries. The 60 s after which nginx gives up waiting for a reply are not
modelled: no fault here lasts longer.
"""

import random
from collections.abc import Callable, Sequence
from itertools import count

from embedfleet.load.workload import Arrival
from embedfleet.simulation.clock import Clock
from embedfleet.simulation.ledger import Ledger
from embedfleet.simulation.replica import OK, REFUSED, RESET, SimCall, SimReplica

FAIL_TIMEOUT_S = 10.0
"""Time without requests for a server that failed once (``max_fails=1``), before it gets one request, in seconds."""
BAD_GATEWAY = 502

# least_time: weight of a new response time in the mean, width of the classes of times that count as equal, and the
# longest time that counts. nginx counts in milliseconds.
_GAIN, _CLASS_MS, _LONGEST_MS = 0.05, 20, 5000


class Server:
    """A replica as its balancer sees it.

    Attributes:
        under_way: Number of its open requests.
        mean_ms: Exponentially weighted mean of its response times, in milliseconds.
        failed: Whether its latest request failed.
        checked_at: Time when it failed, or when it was tried again after that.
    """

    def __init__(self, number: int, replica: SimReplica) -> None:
        self.number = number
        self.replica = replica
        self.under_way = 0
        self.mean_ms = 0.0
        self.failed = False
        self.checked_at = 0.0

    def took(self, seconds: float) -> None:
        """Record an answered request."""
        self.failed = False
        self.mean_ms += _GAIN * (seconds * 1000 - self.mean_ms)

    def is_out(self, now: float) -> bool:
        """Whether it gets no requests now."""
        return self.failed and now - self.checked_at <= FAIL_TIMEOUT_S


Choose = Callable[[Sequence[Server]], Server]


def _in_turn(key: Callable[[Server], float]) -> Choose:
    """Choose the server with the least key; equal servers in turn."""
    turns = count()

    def choose(servers: Sequence[Server]) -> Server:
        keys = [key(server) for server in servers]
        least = min(keys)
        best = [server for server, value in zip(servers, keys, strict=True) if value == least]
        return best[next(turns) % len(best)]

    return choose


def round_robin() -> Choose:
    """Choose servers in turn."""
    return _in_turn(lambda _: 0.0)


def least_conn() -> Choose:
    """Choose the server with the fewest open requests, as HAProxy's leastconn without ``maxconn`` does."""
    return _in_turn(lambda server: server.under_way)


def least_time() -> Choose:
    """Choose by mean response time, in classes of 20 ms, times the open requests, this one included."""

    def eta(server: Server) -> float:
        mean = int(server.mean_ms)
        mean = _LONGEST_MS if mean > _LONGEST_MS else mean + _CLASS_MS - mean % _CLASS_MS
        return mean * (server.under_way + 1)

    return _in_turn(eta)


def random_two() -> Choose:
    """Choose the server with fewer open requests of two drawn at random."""
    source = random.Random(5)
    return lambda servers: min(source.sample(servers, min(2, len(servers))), key=lambda server: server.under_way)


class Nginx:
    """Nginx as a front door.

    Args:
        clock: Clock of the simulation.
        replicas: Replicas behind it.
        ledger: Record of the arrivals' ends.
        choose: Choice among the servers that are not out.
        split: Texts per request into which clients split their batches, all sent at once; 0 for whole batches.
    """

    def __init__(
        self, clock: Clock, replicas: Sequence[SimReplica], ledger: Ledger, choose: Choose, split: int = 0
    ) -> None:
        self._clock = clock
        self._servers = [Server(number, replica) for number, replica in enumerate(replicas)]
        self._ledger = ledger
        self._choose = choose
        self._split = split

    def arrive(self, arrival: Arrival) -> None:
        """Take a client's request."""
        size = self._split or len(arrival.tokens)
        parts = [arrival.tokens[start : start + size] for start in range(0, len(arrival.tokens), size)]
        statuses: list[int] = []

        def answered(status: int) -> None:
            statuses.append(status)
            if len(statuses) < len(parts):
                return
            failed = [status for status in statuses if status != OK]
            if failed:
                self._ledger.refuse(arrival, failed[0])
            else:
                self._ledger.finish(arrival, self._clock.now)

        for part in parts:
            self._send(part, answered, frozenset())

    def _send(self, tokens: tuple[int, ...], answered: Callable[[int], None], tried: frozenset[int]) -> None:
        now = self._clock.now
        servers = [server for server in self._servers if server.number not in tried and not server.is_out(now)]
        if not servers:
            answered(BAD_GATEWAY)
            return
        server = self._choose(servers)
        server.under_way += 1
        server.checked_at = now if server.failed else server.checked_at

        def ended(status: int) -> None:
            server.under_way -= 1
            if status not in {RESET, REFUSED}:
                server.took(self._clock.now - now)
                answered(status)
                return
            server.failed, server.checked_at = True, self._clock.now
            if status == REFUSED:  # A POST that was sent is not sent again.
                self._send(tokens, answered, tried | {server.number})
            else:
                answered(BAD_GATEWAY)

        server.replica.send(SimCall(tokens, ended))
