"""The state machine: events in, commands out, the clock an argument.

Events are method calls with the time as an argument; each returns the commands that follow from it. The proxy feeds it
and obeys; a simulator can do the same.

===============================  =====================================================================
what a replica did               what follows
===============================  =====================================================================
answered 2xx, 3xx, 4xx           the chunk is done; a 4xx ends its whole request
429                              not a failure: the chunk waits again, the replica's window shrinks and it gets nothing
                                 new until it answers something or a moment passes; relayed once every replica said so
                                 with nothing else to do, for then the chunk alone is too much for them
424                              sent to another replica; if that says it too it is the input: the chunk is halved until
                                 one text is left, whose 424 is the request's
500, 502, 503, 504               sent to another replica; relayed if there is no other or the sends are used up
424, 5xx, three in a row         the replica is ejected
refused                          ejected; sent elsewhere, and it does not count as a send
reset, malformed, timed out      ejected; sent elsewhere; 502 when the sends are used up
silent                           suspect: nothing new, and what it has is sent to another as well; the first answer
                                 counts, the other connection is closed
===============================  =====================================================================

All of TEI's calls are idempotent, so each may be sent again, within a budget.
"""

from collections.abc import Sequence
from math import inf

from embedfleet.errors import BadGateway, DeadlineExceeded, ServingError, Unhealthy
from embedfleet.gateway.dispatch.admission import Admission
from embedfleet.gateway.dispatch.budget import Budget
from embedfleet.gateway.dispatch.carving import SCATTER_TOKENS, Bounds, carve, scatter, staggered
from embedfleet.gateway.dispatch.command import Cancel, Command, Failure, Join, Refuse, Relay, Send
from embedfleet.gateway.dispatch.estimate import DrainRate, TokenEstimate
from embedfleet.gateway.dispatch.limits import DispatchLimits
from embedfleet.gateway.dispatch.pace import Cost
from embedfleet.gateway.dispatch.placement import EARLY_S, fits, place_online, takes_bulk
from embedfleet.gateway.dispatch.queues import BulkQueue, OnlineQueue
from embedfleet.gateway.dispatch.replica import Abilities, Replica, State
from embedfleet.gateway.dispatch.request import Batch, Chunk, Part, Request
from embedfleet.gateway.dispatch.roster import Roster
from embedfleet.gateway.dispatch.suspicion import patience_s

BLAMED = 424
RETRIED = frozenset({BLAMED, 500, 502, 503, 504})
THROTTLED = 429
TROUBLE = RETRIED | {THROTTLED}
"""Statuses that may not be the client's answer."""

TICK_S = 0.1
"""`Dispatcher.tick` is to be called so often, and at `Dispatcher.due`."""

_ACTIVE = State.ACTIVE  # a member of an enum costs more to look up than a name
_ONLINE_SEEN_S = 1.0  # online work counts as present for so long after the last
_BACKLOG_S = 2.0  # of bulk work; above it throughput counts for more than the time of one chunk
_RESERVE_S = 0.3  # of bulk work; below it one replica is spared
_SMALLEST_SHARE = 0.25  # of a chunk's tokens, to which it shrinks to use idle replicas
_RETRY_SHARE, _HEDGE_SHARE, _BURST_BATCHES = 0.10, 0.05, 4


class Dispatcher:
    """See the module. It owns the replicas, the queues, the budgets and what has been learnt.

    Attributes:
        due: when `tick` is wanted next, if that is before the regular one; infinite if not.
        sent_tokens: for the first time.
        repeated_tokens: sent again or to two replicas.
    """

    def __init__(self, limits: DispatchLimits | None = None) -> None:
        self.limits = limits or DispatchLimits()
        self._roster = Roster(self.limits)
        self.estimate = TokenEstimate()
        self.rate = DrainRate()
        self._admission = Admission(self.limits, self.rate)
        self.due = inf
        self.repeated_tokens = 0
        self.sent_tokens = 0
        burst = _BURST_BATCHES * Abilities().batch_tokens
        self._retries = Budget(_RETRY_SHARE, burst)
        self._hedges = Budget(_HEDGE_SHARE, burst)
        self._online = OnlineQueue()
        self._bulk = BulkQueue()
        self._open: dict[Request, None] = {}  # in order of arrival, until they are over
        self._queued_bytes = 0
        self._online_at = -inf
        self._ticked_at = 0.0

    def __repr__(self) -> str:
        """As an operator reads it."""
        return f"<Dispatcher online={len(self._online)} bulk={self._bulk.tokens} {list(self.replicas.values())}>"

    @property
    def replicas(self) -> dict[str, Replica]:
        """By name."""
        return self._roster.replicas

    @property
    def serving(self) -> tuple[Replica, ...]:
        """Those that may get work."""
        return self._roster.serving

    @property
    def batch_texts(self) -> int:
        """The most texts that every one of them takes at once."""
        return self._roster.batch_texts

    @property
    def queued(self) -> int:
        """How many requests and chunks wait."""
        return len(self._online) + len(self._bulk.requests) + len(self._bulk.returned)

    @property
    def queued_tokens(self) -> int:
        """Estimated tokens that wait."""
        return self._online.tokens + self._bulk.tokens

    @property
    def queued_bytes(self) -> int:
        """Of the bodies of requests that wait or are cut."""
        return self._queued_bytes

    @property
    def under_way(self) -> int:
        """How many requests are not over."""
        return len(self._open)

    # requests

    def assign(self, request: Request, now: float) -> Replica | None:
        """A client asks: the replica to send the whole request to at once. None if there is none: call `arrived`."""
        self._open[request] = None
        if not request.online:
            return None
        self._online_at = now
        if self._online or request.texts > self._roster.batch_texts or request.tokens > SCATTER_TOKENS:
            return None
        replica = place_online(self._roster.serving, request, now)
        if replica is not None:
            self._send(request, replica, now)
        return replica

    def arrived(self, request: Request, now: float) -> list[Command]:
        """Take a request that could not be assigned."""
        refusal = self._refusal(request, now)
        if refusal is not None:
            self._finish(request)
            return [refusal]
        request.queued_bytes = request.size_bytes
        self._queued_bytes += request.size_bytes
        if request.online:
            for chunk in self._cut_online(request):
                self._online.push(chunk)
        else:
            if self.limits.split and request.texts > 1:
                request.batch = request.divide(by_length=self.limits.sort_by_length)
            self._bulk.push(request)
        return self._dispatch(now)

    def answered(
        self, chunk: Chunk, replica: Replica, status: int, now: float, tokens: int | None = None
    ) -> list[Command] | None:
        """A replica's whole reply is there, or its head if the reply is streamed.

        Args:
            chunk: which.
            replica: whose reply.
            status: of the reply.
            now: in seconds.
            tokens: what the replica says it cost, if it does.

        Returns:
            What follows. None, which is the same as one `Relay` and quicker told, if an answer without trouble is to
            be relayed and there is nothing else.
        """
        request = chunk.request
        self._drop(chunk, replica, now)
        replica.heard_at = now
        replica.full_until = 0.0
        if status in TROUBLE:
            self._roster.heard(replica)
            commands = self._answered_badly(chunk, replica, status, now)
        else:
            self._learn(chunk, replica, now, tokens)
            if chunk is request and chunk.replica is None and replica.state is _ACTIVE:
                self._finish(request)
                if not self._online and not self._bulk:
                    return None
                return [Relay(request), *self._dispatch(now)]
            self._roster.heard(replica)
            commands = self._answered_well(chunk, status, now)
        return [*commands, *self._dispatch(now), *self._roster.emptied(replica)]

    def failed(self, chunk: Chunk, replica: Replica, failure: Failure, now: float) -> list[Command]:
        """A replica gave no answer, or none that can be used."""
        self._drop(chunk, replica, now)
        chunk.tried |= {replica.id}
        self._roster.eject(replica, failure.value.replace("_", " "))
        commands: list[Command] = []
        if failure is Failure.REFUSED:
            chunk.sends -= 1
        if chunk.replica is None:
            commands += self._send_again(chunk, now, failure)
        return [*commands, *self._dispatch(now), *self._roster.emptied(replica)]

    def left(self, request: Request, now: float) -> list[Command]:
        """The client is gone. Of a request that is over, nothing."""
        if request.over:
            return []
        commands = self._abandon(request, now)
        return [*commands, *self._dispatch(now)]

    # replicas

    def set_members(self, names: Sequence[str], now: float) -> list[Command]:
        """These are the replicas from now on: new ones join, missing ones drain and go."""
        return [*self._roster.set_members(names, now), *self.tick(now)]

    def drain(self, name: str) -> list[Command]:
        """Send a replica nothing more until `undrain`; what it has it finishes.

        Raises:
            KeyError: there is no such replica.
        """
        return self._roster.drain(name)

    def undrain(self, name: str, now: float) -> list[Command]:
        """A replica that was drained by hand is wanted back.

        Raises:
            KeyError: there is no such replica.
        """
        self._roster.undrain(name, now)
        return self.tick(now)

    def probed(
        self, name: str, reason: str, now: float, abilities: Abilities | None = None, cost: Cost | None = None
    ) -> list[Command]:
        """A probe came back.

        Args:
            name: of the replica.
            reason: what it did instead of inferring; empty if it inferred.
            now: in seconds.
            abilities: what its ``/info`` says, if it was asked.
            cost: what batches cost it, if that was measured.
        """
        replica = self.replicas.get(name)
        if replica is None:
            return []
        self._roster.probed(replica, reason, now, abilities, cost)
        return [*self._dispatch(now), *self._roster.emptied(replica)]

    def distrust(self, name: str, reason: str) -> None:
        """A replica has to prove itself again, for a reason that the caller knows."""
        self._roster.eject(self.replicas[name], reason)

    def tick(self, now: float) -> list[Command]:
        """To be called every `TICK_S` and when `due` is reached: waits end, probes fall due, silence is noticed."""
        commands: list[Command] = []
        if now - self._ticked_at >= TICK_S / 2:
            commands += self._pass_time(now)
        return [*commands, *self._dispatch(now), *self._roster.probes(now)]

    # admission

    def _refusal(self, request: Request, now: float) -> Refuse | None:
        return self._admission.refusal(
            request,
            waiting=self._online.tokens if request.online else self._bulk.tokens,
            queued_bytes=self._queued_bytes,
            tokens_per_s=self._roster.tokens_per_s,
            now=now,
        )

    def _cut_online(self, request: Request) -> Sequence[Chunk]:
        replicas = max(1, len(self._roster.serving))
        whole = request.texts <= self._roster.batch_texts and (replicas == 1 or request.tokens <= SCATTER_TOKENS)
        if whole or not self.limits.split or request.texts < 2:
            return [request]
        batch = request.batch = request.divide(by_length=self.limits.sort_by_length)
        if batch is None:
            return [request]
        cuts = scatter(batch, replicas, self._roster.narrowest)
        return [self._part(request, batch, items, tokens) for items, tokens in cuts]

    @staticmethod
    def _part(request: Request, batch: Batch, items: Sequence[int], tokens: int) -> Part:
        part = request.part(items, tokens)
        batch.parts.add(part)
        return part

    # sending

    def _dispatch(self, now: float) -> list[Command]:
        """Send what may be sent: online first, and bulk only while no online work waits."""
        commands: list[Command] = []
        while (chunk := self._online.head) is not None:
            replica = place_online(self._roster.serving, chunk, now)
            if replica is None:
                break
            self._online.remove(chunk)
            self._send(chunk, replica, now)
            commands.append(Send(chunk, replica))
        self.due = inf
        if self._bulk and not self._online:
            self._dispatch_bulk(now, commands)
        return commands

    def _dispatch_bulk(self, now: float, commands: list[Command]) -> None:
        """To each replica that is about to run dry a chunk; note when the next one will be."""
        is_online = now - self._online_at < _ONLINE_SEEN_S and self.limits.prefer_online
        spare_one = self._spares_one(is_online=is_online)
        early = sorted(self._roster.serving, key=lambda replica: replica.eta(now))
        for number, replica in enumerate(early):
            if not self._bulk:
                return
            if takes_bulk(replica, self._roster.serving, now, spare_one=spare_one):
                ready = sum(other.eta(now) <= EARLY_S for other in early[number:])
                chunk = self._next_bulk(replica, self._bulk_tokens(replica, ready, now, is_online=is_online))
                if chunk is not None:
                    self._send(chunk, replica, now)
                    commands.append(Send(chunk, replica))
            if replica.free_at > now + EARLY_S:
                self.due = min(self.due, replica.free_at - EARLY_S)

    def _spares_one(self, *, is_online: bool) -> bool:
        many = len(self._roster.serving) > 1
        return self.limits.reserve and many and is_online and self._bulk.tokens < _RESERVE_S * self._roster.tokens_per_s

    def _bulk_tokens(self, replica: Replica, ready: int, now: float, *, is_online: bool) -> int:
        """Of the next chunk: small enough for online work to come in soon, and to use all that is idle."""
        if not is_online or self._bulk.tokens > _BACKLOG_S * self._roster.tokens_per_s:
            tokens = replica.abilities.batch_tokens
        else:
            tokens = replica.chunk_tokens
        share = -(-self._bulk.tokens // max(1, ready))
        tokens = min(tokens, max(share, int(_SMALLEST_SHARE * tokens)))
        if not is_online:
            return tokens
        ends = [max(now, other.free_at) for other in self._roster.serving if other is not replica and other.tokens]
        return staggered(tokens, now + replica.eta(now), ends, replica.pace.real_cost)

    def _next_bulk(self, replica: Replica, tokens: int) -> Chunk | None:
        """What is to be sent again and may be sent here, else the next of the first request; None if it has no room."""
        queue = self._bulk
        for chunk in queue.returned:
            if fits(replica, chunk.tokens, chunk.texts) and not self._should_spare(replica, chunk):
                queue.take_back(chunk)
                return chunk
        if not queue.requests:
            return None
        request = queue.requests[0]
        if request.batch is None:
            if not fits(replica, request.tokens, request.texts):
                return None
            queue.remove(request)
            return request
        if not fits(replica, min(tokens, request.batch.waiting_tokens), 1):
            return None
        abilities = replica.abilities
        room = max(1, min(abilities.batch_texts, replica.permits - replica.texts))
        items, cut = carve(request.batch, Bounds(tokens, room, abilities.body_bytes))
        queue.tokens -= cut
        if request.batch.is_taken:
            queue.requests.popleft()
        return self._part(request, request.batch, items, cut)

    def _should_spare(self, replica: Replica, chunk: Chunk) -> bool:
        """A replica that failed a chunk gets it again only when every serving one has."""
        return replica.id in chunk.tried and self._has_untried(chunk)

    def _has_untried(self, chunk: Chunk) -> bool:
        return any(replica.id not in chunk.tried for replica in self._roster.serving)

    def _send(self, chunk: Chunk, replica: Replica, now: float) -> None:
        if chunk.replica is None:
            chunk.replica = replica
        else:
            chunk.copy = replica
        chunk.sends += 1
        if chunk.sends == 1:
            self.sent_tokens += chunk.tokens
        chunk.sent_at = now
        chunk.due_at = now + patience_s(replica.take(chunk, now))

    def _drop(self, chunk: Chunk, replica: Replica, now: float) -> None:
        """A chunk is no longer at a replica; where it is as well becomes where it is."""
        replica.drop(chunk, now)
        if chunk.replica is replica:
            chunk.replica, chunk.copy = chunk.copy, None
        else:
            chunk.copy = None

    # answers

    def _learn(self, chunk: Chunk, replica: Replica, now: float, tokens: int | None) -> None:
        """Learn from an answer without trouble."""
        replica.failures = 0
        if tokens is not None:
            self.estimate.learn(chunk.tokens, chunk.texts, tokens)
        replica.pace.answered(chunk.tokens, chunk.sent_at, now)
        self.rate.finished(chunk.tokens)

    def _answered_well(self, chunk: Chunk, status: int, now: float) -> list[Command]:
        commands = self._cancel(chunk, now)
        request, batch = chunk.request, chunk.request.batch
        if batch is None or not isinstance(chunk, Part):
            self._finish(request)
            return [*commands, Relay(chunk)]
        batch.parts.discard(chunk)
        if status >= 400:
            return [*commands, *self._abandon(request, now), Relay(chunk)]
        batch.unanswered -= chunk.texts
        if not batch.unanswered:
            self._finish(request)
            commands.append(Join(request))
        return commands

    def _answered_badly(self, chunk: Chunk, replica: Replica, status: int, now: float) -> list[Command]:
        if status == THROTTLED:
            return self._throttled(chunk, replica, now)
        chunk.tried |= {replica.id}
        self._roster.failed(replica, f"answered {status}")
        if chunk.replica is not None:  # a copy of it is still at another
            return []
        is_blamed = status == BLAMED and (chunk.blamed or not self._has_untried(chunk))
        if is_blamed and chunk.texts > 1 and self._halve(chunk):
            return []
        chunk.blamed = chunk.blamed or status == BLAMED
        if not is_blamed and chunk.sends < self.limits.sends and self._has_untried(chunk) and self._may_retry(chunk):
            self._wait(chunk)
            return []
        return [*self._abandon(chunk.request, now), Relay(chunk)]

    def _throttled(self, chunk: Chunk, replica: Replica, now: float) -> list[Command]:
        if chunk.replica is not None:
            return []
        if not replica.chunks:
            chunk.too_much_for |= {replica.id}
            if all(other.id in chunk.too_much_for for other in self._roster.serving):
                return [*self._abandon(chunk.request, now), Relay(chunk)]
        replica.full_until = now + self.limits.full_s
        replica.slow_down()
        replica.widen(now, self.limits.slow_start_s)
        chunk.sends -= 1
        self._wait(chunk)
        return []

    def _halve(self, chunk: Chunk) -> bool:
        """Two replicas could not compute a chunk of several texts: ask for its halves, to find the one text."""
        request = chunk.request
        if request.batch is None:
            request.batch = request.divide(by_length=False) if self.limits.split else None
            if request.batch is None:
                return False
            request.batch.taken, request.batch.waiting_tokens = len(request.batch.order), 0
        batch = request.batch
        items = chunk.items if isinstance(chunk, Part) else batch.order
        if not self._may_retry(chunk):
            return False
        batch.parts.discard(chunk)  # a request that is its own chunk is not in there
        middle = len(items) // 2
        for half in (items[:middle], items[middle:]):
            part = self._part(request, batch, half, sum(batch.costs[item] for item in half))
            part.blamed = True
            self._wait(part)
        return True

    def _send_again(self, chunk: Chunk, now: float, failure: Failure) -> list[Command]:
        """A chunk that no replica has any more waits again, if that is allowed."""
        if chunk.sends >= self.limits.sends:
            error: ServingError = BadGateway(f"{chunk.sends} replicas failed this request, the last: {failure.value}")
            return [*self._abandon(chunk.request, now), Refuse(chunk.request, error, "sends")]
        if failure is not Failure.REFUSED and not self._may_retry(chunk):
            error = Unhealthy(f"a replica failed this request ({failure.value}), as too many did of late")
            return [*self._abandon(chunk.request, now), Refuse(chunk.request, error, "retry-budget")]
        self._wait(chunk)
        return []

    def _may_retry(self, chunk: Chunk) -> bool:
        if not self._retries.spend(chunk.tokens, self.sent_tokens):
            return False
        self.repeated_tokens += chunk.tokens
        return True

    def _wait(self, chunk: Chunk) -> None:
        """Before all that came later."""
        if chunk.online:
            self._online.push(chunk)
        else:
            self._bulk.give_back(chunk)

    def _cancel(self, chunk: Chunk, now: float) -> list[Command]:
        """Take a chunk off every replica that has it."""
        commands: list[Command] = []
        while (replica := chunk.replica) is not None:
            self._drop(chunk, replica, now)
            commands.append(Cancel(chunk, replica))
            commands += self._roster.emptied(replica)
        return commands

    def _abandon(self, request: Request, now: float) -> list[Command]:
        """Nobody wants the rest of a request."""
        chunks: list[Chunk] = [request, *(request.batch.parts if request.batch is not None else ())]
        commands: list[Command] = []
        for chunk in chunks:
            commands += self._cancel(chunk, now)
            self._online.remove(chunk)
            self._bulk.take_back(chunk)
        self._bulk.remove(request)
        self._finish(request)
        return commands

    def _finish(self, request: Request) -> None:
        request.over = True
        if request.queued_bytes:
            self._queued_bytes -= request.queued_bytes
            request.queued_bytes = 0
        self._open.pop(request, None)

    def _hedge(self, suspect: Replica, now: float) -> list[Command]:
        """Online work first."""
        commands: list[Command] = []
        for chunk in sorted(suspect.chunks, key=lambda chunk: not chunk.online):
            if chunk.copy is not None:
                continue
            other = place_online(self._roster.serving, chunk, now)
            if other is None or not self._hedges.spend(chunk.tokens, self.sent_tokens):
                break
            self.repeated_tokens += chunk.tokens
            chunk.tried |= {suspect.id}
            self._send(chunk, other, now)
            commands.append(Send(chunk, other))
        return commands

    # time

    def _pass_time(self, now: float) -> list[Command]:
        """What changes with time alone."""
        self._roster.refresh(now, min(now - self._ticked_at, 1.0))
        self._ticked_at = now
        self.rate.measure(now, busy=any(replica.chunks for replica in self.replicas.values()))
        commands = self._expire(now)
        self._roster.suspect(now)
        if self.limits.hedge:
            for replica in self._roster.suspects:
                commands += self._hedge(replica, now)
        return commands

    def _expire(self, now: float) -> list[Command]:
        """Give up what nobody waits for any more."""
        commands: list[Command] = []
        for request in [request for request in self._open if request.deadline < now]:
            commands += self._abandon(request, now)
            error = DeadlineExceeded(f"not answered in {now - request.arrived:.1f} s, which is its deadline")
            commands.append(Refuse(request, error, "deadline"))
        if not self._roster.serving:
            longest = now - self.limits.no_replica_s
            for request in [request for request in self._open if request.arrived < longest and not _is_sent(request)]:
                commands += self._abandon(request, now)
                commands.append(Refuse(request, Unhealthy("no replica is ready to serve"), "no-replica"))
        return commands


def _is_sent(request: Request) -> bool:
    """Whether a replica has any of it."""
    parts = request.batch.parts if request.batch is not None else ()
    return request.replica is not None or any(part.replica is not None for part in parts)
