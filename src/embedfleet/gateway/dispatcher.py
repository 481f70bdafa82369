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
TROUBLE = RETRIED | {THROTTLED}
"""Statuses that may not be the client's answer."""

_ACTIVE, _DRAINING = State.ACTIVE, State.DRAINING  # a member of an enum costs more to look up than a name


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


class Request:
    """A client's request as the dispatcher knows it; callers derive from it what they keep of it themselves.

    Attributes:
        arrived: when.
        size_bytes: of its body.
        replica: where it is, None while it waits and once it is over.
        tokens: what it will cost, estimated.
        sends: so far, refusals not counted.
        tried: replicas that failed it.
    """

    def __init__(self, size_bytes: int, now: float) -> None:
        self.arrived = now
        self.size_bytes = size_bytes
        self.replica: Replica | None = None
        self.tokens = 0
        self.sends = 0
        self.tried: frozenset[str] = _NONE


_NONE: frozenset[str] = frozenset()


@dataclass(slots=True)
class Send:
    """Send the request to the replica."""

    request: Request
    replica: str


@dataclass(slots=True)
class Relay:
    """Pass on the reply that the replica has just given."""

    request: Request


@dataclass(slots=True)
class Refuse:
    """Answer with an error of ours."""

    request: Request
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


class Dispatcher:
    """See the module. It owns the replicas, the queue and what has been learnt."""

    def __init__(self, limits: DispatchLimits | None = None) -> None:
        self.limits = limits or DispatchLimits()
        self.replicas: dict[str, Replica] = {}
        self.estimate = TokenEstimate()
        self.rate = DrainRate()
        self._queue: deque[Request] = deque()
        self._queue_bytes = 0
        self._queue_tokens = 0

    def __repr__(self) -> str:
        """As an operator reads it."""
        return f"<Dispatcher queued={len(self._queue)} {list(self.replicas.values())}>"

    @property
    def active(self) -> int:
        """How many replicas serve."""
        return sum(replica.state is _ACTIVE for replica in self.replicas.values())

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
        return len(self._queue) + sum(replica.requests for replica in self.replicas.values())

    # requests

    def assign(self, request: Request, now: float) -> Replica | None:
        """A client asks: the replica to send it to at once. None if there is none: then call `wait`."""
        request.tokens = self.estimate.tokens(request.size_bytes)
        if self._queue:
            return None
        replica = self._choose(request, now)
        if replica is not None:
            self._assign(request, replica)
        return replica

    def wait(self, request: Request) -> list[Command]:
        """Take a request that could not be assigned into the queue, if there is room."""
        full = len(self._queue) >= self.limits.queue_requests
        if full or self._queue_bytes + request.size_bytes > self.limits.queue_bytes:
            return [Refuse(request, Overloaded(retry_after_s=self._drain_s()), "queue")]
        self._enqueue(request, front=False)
        return []

    def answered(self, request: Request, status: int, now: float, tokens: int | None = None) -> list[Command] | None:
        """A replica's whole reply is there, or its head if the reply is streamed.

        Args:
            request: which.
            status: of the reply.
            now: in seconds.
            tokens: what the replica says it cost, if it does.

        Returns:
            What follows. None, which is the same as one `Relay` and quicker told, if an answer without trouble is to
            be relayed and there is nothing else.
        """
        replica = self._release(request)
        replica.full_until = 0.0
        if status not in TROUBLE:
            self._learn(request, replica, now, tokens)
            if not self._queue and replica.state is not _DRAINING:
                return None
            commands: list[Command] = [Relay(request)]
        elif status != THROTTLED:
            commands = self._answered_badly(request, replica, status, now)
        elif replica.requests:
            replica.full_until = now + self.limits.full_s
            request.sends -= 1
            self._enqueue(request, front=True)
            commands = []
        else:
            self._learn(request, replica, now, tokens)
            commands = [Relay(request)]
        return [*commands, *self._dispatch(now), *self._forget_drained(replica)]

    def failed(self, request: Request, failure: Failure, now: float) -> list[Command]:
        """A replica gave no answer, or none that can be used."""
        replica = self._release(request)
        request.tried |= {replica.id}
        self._eject(replica, failure.value.replace("_", " "), now)
        if failure is Failure.REFUSED:
            request.sends -= 1
        commands: list[Command] = []
        if request.sends < self.limits.sends:
            self._enqueue(request, front=True)
        else:
            message = f"{request.sends} replicas failed this request, the last: {failure.value}"
            commands.append(Refuse(request, BadGateway(message), "sends"))
        commands += self._dispatch(now)
        commands += self._forget_drained(replica)
        return commands

    def left(self, request: Request, now: float) -> list[Command]:
        """The client is gone; the caller closes what it had opened for it. Of a request that is over, nothing."""
        if request.replica is not None:
            replica = self._release(request)
            return [*self._dispatch(now), *self._forget_drained(replica)]
        if request in self._queue:
            self._queue.remove(request)
            self._uncount(request)
        return []

    # replicas

    def set_members(self, replicas: list[str], now: float) -> list[Command]:
        """These are the replicas from now on: new ones join, missing ones drain."""
        commands: list[Command] = []
        for name in replicas:
            known = self.replicas.get(name)
            if known is None or known.state is _DRAINING:
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
            known.last_good = now
            known.failures = 0
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

    def _choose(self, request: Request, now: float) -> Replica | None:
        """The replica with the fewest outstanding tokens that has room, of those that have not failed this request."""
        most = self.limits.requests_per_replica
        best: Replica | None = None
        for replica in self.replicas.values():
            if replica.state is not _ACTIVE or replica.requests >= most or replica.full_until > now:
                continue
            if request.tried and self._should_spare(replica, request):
                continue
            if (
                best is None
                or replica.tokens < best.tokens
                or (replica.tokens == best.tokens and replica.sent < best.sent)
            ):
                best = replica
        return best

    def _should_spare(self, replica: Replica, request: Request) -> bool:
        """A replica that failed a request gets it again only when every active one has."""
        return replica.id in request.tried and self._has_untried(request)

    def _has_untried(self, request: Request) -> bool:
        return any(r.state is _ACTIVE and r.id not in request.tried for r in self.replicas.values())

    def _learn(self, request: Request, replica: Replica, now: float, tokens: int | None) -> None:
        """Learn from a reply that is the client's answer."""
        replica.last_good = now
        replica.failures = 0
        if tokens is None:
            self.rate.finished(request.tokens)
        else:
            self.rate.finished(tokens)
            self.estimate.learn(request.size_bytes, tokens)

    def _answered_badly(self, request: Request, replica: Replica, status: int, now: float) -> list[Command]:
        """Count a failure, and queue the request for another replica if that may help."""
        request.tried |= {replica.id}
        replica.failures += 1
        if replica.failures >= self.limits.failures:
            self._eject(replica, f"answered {status}, {replica.failures} failures in a row", now)
        if request.sends < self.limits.sends and self._has_untried(request):
            self._enqueue(request, front=True)
            return []
        return [Relay(request)]

    def _assign(self, request: Request, replica: Replica) -> None:
        request.replica = replica
        request.sends += 1
        replica.requests += 1
        replica.tokens += request.tokens
        replica.sent += 1

    def _release(self, request: Request) -> Replica:
        replica = request.replica
        assert replica is not None, "only a request that was sent can be answered, fail or be cancelled"
        request.replica = None
        replica.requests -= 1
        replica.tokens -= request.tokens
        return replica

    def _dispatch(self, now: float) -> list[Command]:
        """Send from the head of the queue while somebody has room for it."""
        commands: list[Command] = []
        while self._queue:
            replica = self._choose(self._queue[0], now)
            if replica is None:
                break
            request = self._queue.popleft()
            self._uncount(request)
            self._assign(request, replica)
            commands.append(Send(request, replica.id))
        return commands

    def _enqueue(self, request: Request, *, front: bool) -> None:
        if front:
            self._queue.appendleft(request)
        else:
            self._queue.append(request)
        self._queue_bytes += request.size_bytes
        self._queue_tokens += request.tokens

    def _uncount(self, request: Request) -> None:
        self._queue_bytes -= request.size_bytes
        self._queue_tokens -= request.tokens

    def _expire(self, now: float) -> Iterator[Refuse]:
        for request in [request for request in self._queue if now - request.arrived > self.limits.queue_timeout_s]:
            self._queue.remove(request)
            self._uncount(request)
            if self.active:
                yield Refuse(request, Overloaded(retry_after_s=self._drain_s()), "timeout")
            else:
                yield Refuse(request, Unhealthy("no replica is ready to serve"), "no_replica")

    def _drain_s(self) -> int:
        return self.rate.seconds_for(self._queue_tokens)

    def _eject(self, replica: Replica, reason: str, now: float) -> None:
        if replica.state is _ACTIVE:
            replica.next_probe = now + self.limits.probe_retry_s[0]
            replica.probe_delay_s = self.limits.probe_retry_s[0]
        replica.move(Event.BAD)
        replica.failures = 0
        replica.reason = reason

    def _is_probe_due(self, replica: Replica, now: float) -> bool:
        if replica.probing or replica.state is _DRAINING:
            return False
        if replica.state is _ACTIVE:
            return now - replica.last_good > self.limits.probe_interval_s
        return now >= replica.next_probe

    def _forget_drained(self, replica: Replica) -> list[Command]:
        if replica.state is not _DRAINING or replica.requests or replica.probing:
            return []
        del self.replicas[replica.id]
        return [Forget(replica.id)]
