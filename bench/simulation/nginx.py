"""nginx as a rival: a server is chosen for a whole request, at once, whatever waits there.

Sources: ngx_http_upstream_round_robin.c, …_least_conn_module.c, …_random_module.c and …_least_time_module.c of nginx
1.31; the manual of ngx_http_proxy_module for what is tried again. The 60 s after which nginx gives up a reply are not
modelled: no fault here lasts longer.
"""

import random
from collections.abc import Callable, Sequence
from itertools import count

from bench.simulation.clock import Clock
from bench.simulation.door import Ledger
from bench.simulation.replica import OK, REFUSED, RESET, SimCall, SimReplica
from bench.workload import Arrival

FAIL_TIMEOUT_S = 10.0
"""After one failure (``max_fails=1``) a server gets nothing for so long, then one request."""
BAD_GATEWAY = 502

# least_time: share of a new response time in the mean, width of the classes of times that count as equal, and the
# longest that counts; nginx counts in milliseconds.
_GAIN, _CLASS_MS, _LONGEST_MS = 0.05, 20, 5000


class Server:
    """A replica as its balancer knows it.

    Attributes:
        under_way: requests that it has.
        mean_ms: of its response times, by exponential weights.
        failed: the last thing that it did was to fail.
        checked_at: when it failed, or was tried after that.
    """

    def __init__(self, number: int, replica: SimReplica) -> None:
        self.number = number
        self.replica = replica
        self.under_way = 0
        self.mean_ms = 0.0
        self.failed = False
        self.checked_at = 0.0

    def took(self, seconds: float) -> None:
        """A request was answered."""
        self.failed = False
        self.mean_ms += _GAIN * (seconds * 1000 - self.mean_ms)

    def is_out(self, now: float) -> bool:
        """Whether it gets nothing now."""
        return self.failed and now - self.checked_at <= FAIL_TIMEOUT_S


Choose = Callable[[Sequence[Server]], Server]


def _in_turn(key: Callable[[Server], float]) -> Choose:
    """The least; of equals in turn."""
    turns = count()

    def choose(servers: Sequence[Server]) -> Server:
        keys = [key(server) for server in servers]
        least = min(keys)
        best = [server for server, value in zip(servers, keys, strict=True) if value == least]
        return best[next(turns) % len(best)]

    return choose


def round_robin() -> Choose:
    """In turn."""
    return _in_turn(lambda _: 0.0)


def least_conn() -> Choose:
    """Fewest requests under way; HAProxy's leastconn without ``maxconn`` does the same."""
    return _in_turn(lambda server: server.under_way)


def least_time() -> Choose:
    """Least mean response time, in classes of 20 ms, times the requests under way and this one."""

    def eta(server: Server) -> float:
        mean = int(server.mean_ms)
        mean = _LONGEST_MS if mean > _LONGEST_MS else mean + _CLASS_MS - mean % _CLASS_MS
        return mean * (server.under_way + 1)

    return _in_turn(eta)


def random_two() -> Choose:
    """Of two drawn at random the one with fewer requests under way."""
    source = random.Random(5)
    return lambda servers: min(source.sample(servers, min(2, len(servers))), key=lambda server: server.under_way)


class Nginx:
    """See `Door`.

    Args:
        choose: of the servers that are not out.
        cut: texts per request to which clients cut theirs, all sent at once; 0 for whole ones.
    """

    def __init__(
        self, clock: Clock, replicas: Sequence[SimReplica], ledger: Ledger, choose: Choose, cut: int = 0
    ) -> None:
        self._clock = clock
        self._servers = [Server(number, replica) for number, replica in enumerate(replicas)]
        self._ledger = ledger
        self._choose = choose
        self._cut = cut

    def arrive(self, arrival: Arrival) -> None:
        """See `Door`."""
        size = self._cut or len(arrival.tokens)
        pieces = [arrival.tokens[start : start + size] for start in range(0, len(arrival.tokens), size)]
        statuses: list[int] = []

        def answered(status: int) -> None:
            statuses.append(status)
            if len(statuses) < len(pieces):
                return
            failed = [status for status in statuses if status != OK]
            if failed:
                self._ledger.refuse(arrival, failed[0])
            else:
                self._ledger.finish(arrival, self._clock.now)

        for piece in pieces:
            self._send(piece, answered, frozenset())

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
            if status == REFUSED:  # a POST that was sent is not sent again
                self._send(tokens, answered, tried | {server.number})
            else:
                answered(BAD_GATEWAY)

        server.replica.send(SimCall(tokens, ended))
