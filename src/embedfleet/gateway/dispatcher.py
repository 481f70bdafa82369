"""Which replica gets which request, and what happens when one fails: a state machine without I/O.

Events are method calls with the time as an argument; each returns the commands that follow from it. The proxy feeds it
and obeys. The policy: least outstanding tokens among active replicas with room, else a bounded queue, first come first
served.

===============================  =====================================================================
what a replica did               what follows
===============================  =====================================================================
answered 2xx, 3xx, 4xx           relayed
429                              not a failure: back to the head of the queue, the replica gets nothing new until it
                                 answers something or a moment passes; relayed if it had nothing else to do, for then
                                 the request alone is too much for it
424, 500, 502, 503, 504          sent to another replica; relayed if there is no other or the sends are used up; the
                                 third in a row ejects
refused                          ejected; sent elsewhere, and it does not count as a send
reset, malformed, timed out      ejected; sent elsewhere; 502 when the sends are used up
===============================  =====================================================================

All of TEI's calls are idempotent, so each may be sent again.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from embedfleet.errors import BadGateway, Overloaded, ServingError, Unhealthy
from embedfleet.gateway.estimate import DrainRate, TokenEstimate
from embedfleet.gateway.replica import Event, Replica, State

RETRIED = frozenset({424, 500, 502, 503, 504})
THROTTLED = 429


class Failure(StrEnum):
    """How a replica failed to answer."""

    REFUSED = "refused"
    RESET = "reset"
    MALFORMED = "malformed"
    TIMED_OUT = "timed_out"


@dataclass(frozen=True, slots=True)
class DispatchLimits:
    """Bounds of the dispatcher.

    Attributes:
        requests_per_replica: under way at one replica at once.
        queue_requests: that wait.
        queue_bytes: of the bodies that wait.
        queue_timeout_s: the longest wait.
        sends: of one request, refusals not counted.
        failures: in a row until a replica is ejected.
        full_s: how long a replica that answered 429 gets nothing new.
        probe_interval_s: an active replica that was not heard of for so long is probed.
        probe_retry_s: first and last wait between probes of a replica that is not active.
    """

    requests_per_replica: int = 64
    queue_requests: int = 1024
    queue_bytes: int = 256_000_000
    queue_timeout_s: float = 30.0
    sends: int = 3
    failures: int = 3
    full_s: float = 0.25
    probe_interval_s: float = 5.0
    probe_retry_s: tuple[float, float] = (0.25, 5.0)


@dataclass(slots=True)
class Send:
    """Send the request to the replica."""

    request: int
    replica: str


@dataclass(slots=True)
class Relay:
    """Pass on the reply that the replica has just given."""

    request: int


@dataclass(slots=True)
class Refuse:
    """Answer with an error of ours."""

    request: int
    error: ServingError
    reason: str


@dataclass(slots=True)
class Probe:
    """Find out by inference whether the replica works; report it to `Dispatcher.probed`."""

    replica: str


@dataclass(slots=True)
class Forget:
    """The replica has drained: close its connections."""

    replica: str


Command = Send | Relay | Refuse | Probe | Forget


@dataclass(slots=True, eq=False)
class _Request:
    id: int
    size_bytes: int
    tokens: int
    arrived: float
    sends: int = 0
    replica: Replica | None = None
    tried: frozenset[str] = frozenset()  # replicas that failed it


class Dispatcher:
    """See the module. It owns the replicas, the queue and what has been learnt."""

    def __init__(self, limits: DispatchLimits | None = None) -> None:
        self.limits = limits or DispatchLimits()
        self.replicas: dict[str, Replica] = {}
        self.estimate = TokenEstimate()
        self.rate = DrainRate()
        self._requests: dict[int, _Request] = {}
        self._queue: deque[_Request] = deque()
        self._queue_bytes = 0
        self._queue_tokens = 0

    def __repr__(self) -> str:
        """As an operator reads it."""
        return f"<Dispatcher queued={len(self._queue)} {list(self.replicas.values())}>"

    @property
    def active(self) -> int:
        """How many replicas serve."""
        return sum(replica.state is State.ACTIVE for replica in self.replicas.values())

    @property
    def queued(self) -> int:
        """How many requests wait."""
        return len(self._queue)

    @property
    def queued_tokens(self) -> int:
        """Estimated tokens of the requests that wait."""
        return self._queue_tokens

    @property
    def under_way(self) -> int:
        """How many requests are not answered yet."""
        return len(self._requests)

    # requests

    def arrived(self, request: int, size_bytes: int, now: float) -> list[Command]:
        """A client asks; ``request`` is a number of the caller's, ``size_bytes`` its body's size."""
        item = _Request(request, size_bytes, self.estimate.tokens(size_bytes), now)
        replica = None if self._queue else self._choose(item, now)
        if replica is not None:
            self._requests[request] = item
            return [self._assign(item, replica)]
        full = len(self._queue) >= self.limits.queue_requests
        if full or self._queue_bytes + size_bytes > self.limits.queue_bytes:
            return [Refuse(request, Overloaded(retry_after_s=self._drain_s()), "queue")]
        self._requests[request] = item
        self._enqueue(item, front=False)
        return []

    def answered(self, request: int, status: int, now: float, tokens: int | None = None) -> list[Command]:
        """A replica's whole reply is there, or its head if the reply is streamed.

        Args:
            request: which.
            status: of the reply.
            now: in seconds.
            tokens: what the replica says it cost, if it does.
        """
        item = self._requests[request]
        replica = self._release(item)
        others_under_way = replica.requests > 0
        replica.full_until = 0.0
        commands: list[Command]
        if status == THROTTLED and others_under_way:
            replica.full_until = now + self.limits.full_s
            item.sends -= 1
            self._enqueue(item, front=True)
            commands = []
        elif status in RETRIED:
            commands = self._answered_badly(item, replica, status, now)
        else:
            self._heard(replica, now)
            self.rate.finished(tokens if tokens is not None else item.tokens)
            if tokens is not None:
                self.estimate.learn(item.size_bytes, tokens)
            del self._requests[request]
            commands = [Relay(request)]
        if self._queue:
            commands += self._dispatch(now)
        if replica.state is State.DRAINING:
            commands += self._forget_drained(replica)
        return commands

    def failed(self, request: int, failure: Failure, now: float) -> list[Command]:
        """A replica gave no answer, or none that can be used."""
        item = self._requests[request]
        replica = self._release(item)
        item.tried |= {replica.id}
        self._eject(replica, failure.value.replace("_", " "), now)
        if failure is Failure.REFUSED:
            item.sends -= 1
        commands: list[Command] = []
        if item.sends < self.limits.sends:
            self._enqueue(item, front=True)
        else:
            del self._requests[request]
            message = f"{item.sends} replicas failed this request, the last: {failure.value}"
            commands.append(Refuse(request, BadGateway(message), "sends"))
        commands += self._dispatch(now)
        commands += self._forget_drained(replica)
        return commands

    def left(self, request: int, now: float) -> list[Command]:
        """The client is gone; the caller closes what it had opened for it. Unknown requests are ignored."""
        item = self._requests.pop(request, None)
        if item is None:
            return []
        if item.replica is None:
            self._queue.remove(item)
            self._uncount(item)
            return []
        replica = self._release(item)
        return [*self._dispatch(now), *self._forget_drained(replica)]

    # replicas

    def set_members(self, replicas: list[str], now: float) -> list[Command]:
        """These are the replicas from now on: new ones join, missing ones drain."""
        commands: list[Command] = []
        for name in replicas:
            known = self.replicas.get(name)
            if known is None or known.state is State.DRAINING:
                known = self.replicas.setdefault(name, Replica(name))
                known.move(Event.JOIN)
                known.next_probe, known.probe_delay_s = now, self.limits.probe_retry_s[0]
        for replica in [replica for name, replica in self.replicas.items() if name not in replicas]:
            replica.move(Event.DRAIN)
            commands += self._forget_drained(replica)
        return commands + self.tick(now)

    def probed(self, replica: str, reason: str, now: float) -> list[Command]:
        """A probe came back; ``reason`` is empty if the replica inferred, else says what it did instead."""
        known = self.replicas.get(replica)
        if known is None:
            return []
        known.probing = False
        if reason:
            known.next_probe = now + known.probe_delay_s
            known.probe_delay_s = min(known.probe_delay_s * 2, self.limits.probe_retry_s[1])
            self._eject(known, reason, now)
        else:
            known.move(Event.GOOD)
            known.reason = ""
            self._heard(known, now)
            known.probe_delay_s = self.limits.probe_retry_s[0]
        return [*self._dispatch(now), *self._forget_drained(known)]

    def distrust(self, replica: str, reason: str, now: float) -> None:
        """A replica has to prove itself again, for a reason that the caller knows."""
        self._eject(self.replicas[replica], reason, now)

    def tick(self, now: float) -> list[Command]:
        """To be called a few times a second: waits end, probes fall due."""
        self.rate.measure(now, busy=any(replica.requests for replica in self.replicas.values()))
        commands: list[Command] = list(self._expire(now))
        commands += self._dispatch(now)
        for replica in self.replicas.values():
            if self._is_probe_due(replica, now):
                replica.probing = True
                commands.append(Probe(replica.id))
        return commands

    # rules

    def _choose(self, item: _Request, now: float) -> Replica | None:
        """The replica with the fewest outstanding tokens that has room, of those that have not failed this request."""
        best: Replica | None = None
        for replica in self.replicas.values():
            if replica.state is not State.ACTIVE or replica.requests >= self.limits.requests_per_replica:
                continue
            if replica.full_until > now or (item.tried and self._should_spare(replica, item)):
                continue
            if best is None or (replica.tokens, replica.sent) < (best.tokens, best.sent):
                best = replica
        return best

    def _should_spare(self, replica: Replica, item: _Request) -> bool:
        """A replica that failed a request gets it again only when every active one has."""
        return replica.id in item.tried and self._has_untried(item)

    def _has_untried(self, item: _Request) -> bool:
        return any(r.state is State.ACTIVE and r.id not in item.tried for r in self.replicas.values())

    def _answered_badly(self, item: _Request, replica: Replica, status: int, now: float) -> list[Command]:
        item.tried |= {replica.id}
        replica.failures += 1
        if replica.failures >= self.limits.failures:
            self._eject(replica, f"answered {status}, {replica.failures} failures in a row", now)
        if item.sends < self.limits.sends and self._has_untried(item):
            self._enqueue(item, front=True)
            return []
        del self._requests[item.id]
        return [Relay(item.id)]

    def _assign(self, item: _Request, replica: Replica) -> Send:
        item.replica = replica
        item.sends += 1
        replica.requests += 1
        replica.tokens += item.tokens
        replica.sent += 1
        return Send(item.id, replica.id)

    def _release(self, item: _Request) -> Replica:
        replica, item.replica = item.replica, None
        assert replica is not None, "only a request that was sent can be answered, fail or be cancelled"
        replica.requests -= 1
        replica.tokens -= item.tokens
        return replica

    def _dispatch(self, now: float) -> list[Command]:
        """Send from the head of the queue while somebody has room for it."""
        commands: list[Command] = []
        while self._queue:
            replica = self._choose(self._queue[0], now)
            if replica is None:
                break
            item = self._queue.popleft()
            self._uncount(item)
            commands.append(self._assign(item, replica))
        return commands

    def _enqueue(self, item: _Request, *, front: bool) -> None:
        if front:
            self._queue.appendleft(item)
        else:
            self._queue.append(item)
        self._queue_bytes += item.size_bytes
        self._queue_tokens += item.tokens

    def _uncount(self, item: _Request) -> None:
        self._queue_bytes -= item.size_bytes
        self._queue_tokens -= item.tokens

    def _expire(self, now: float) -> Iterator[Refuse]:
        for item in [item for item in self._queue if now - item.arrived > self.limits.queue_timeout_s]:
            self._queue.remove(item)
            self._uncount(item)
            del self._requests[item.id]
            if self.active:
                yield Refuse(item.id, Overloaded(retry_after_s=self._drain_s()), "timeout")
            else:
                yield Refuse(item.id, Unhealthy("no replica is ready to serve"), "no_replica")

    def _drain_s(self) -> int:
        return self.rate.seconds_for(self._queue_tokens)

    def _heard(self, replica: Replica, now: float) -> None:
        replica.last_good = now
        replica.failures = 0

    def _eject(self, replica: Replica, reason: str, now: float) -> None:
        if replica.state is State.ACTIVE:
            replica.next_probe = now + self.limits.probe_retry_s[0]
            replica.probe_delay_s = self.limits.probe_retry_s[0]
        replica.move(Event.BAD)
        replica.failures = 0
        replica.reason = reason

    def _is_probe_due(self, replica: Replica, now: float) -> bool:
        if replica.probing or replica.state is State.DRAINING:
            return False
        if replica.state is State.ACTIVE:
            return now - replica.last_good > self.limits.probe_interval_s
        return now >= replica.next_probe

    def _forget_drained(self, replica: Replica) -> list[Command]:
        if replica.state is not State.DRAINING or replica.requests or replica.probing:
            return []
        del self.replicas[replica.id]
        return [Forget(replica.id)]
