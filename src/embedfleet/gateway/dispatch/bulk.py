"""How bulk work is sent: cut as late as possible, to replicas that are about to run dry."""

from math import ceil, inf

from embedfleet.gateway.dispatch.command import Command, Send
from embedfleet.gateway.dispatch.limits import DispatchLimits
from embedfleet.gateway.dispatch.placement import EARLY_S, fits, takes_bulk
from embedfleet.gateway.dispatch.pool import Roster
from embedfleet.gateway.dispatch.quarantine import Quarantine
from embedfleet.gateway.dispatch.replica import Replica
from embedfleet.gateway.dispatch.request import Chunk
from embedfleet.gateway.dispatch.splitting import Bounds, carve, most_tokens, staggered
from embedfleet.gateway.dispatch.work import Work, part_of

_BACKLOG_S = 2.0  # of bulk work; above it throughput counts for more than the time of one chunk
_RESERVE_ROUNDS = 2  # a chunk for each: so many rounds may wait, for each other replica, while one is spared
_REPLICAS_PER_SPARED = 8  # while replicas are spared
_SMALLEST_SHARE = 0.25  # of a chunk's tokens, to which it shrinks to use idle replicas
_REFILL = 1 / 3  # of a chunk's tokens: if the texts of one call leave as much of it, another call goes with it
_STARVED_S = 2.0  # without bulk work at any replica while some waits: then one chunk goes whatever else there is to do
_FULL = 0.95  # of a batch's tokens: estimates are off, and what spills over takes a batch of its own


class BulkSender:
    """Sends what waits in the bulk queue.

    Args:
        limits: of the dispatcher.
        roster: of the replicas.
        work: whose queue.
        quarantine: where goes what a replica has died with since it came.

    Attributes:
        due: when the next replica will be about to run dry; infinite if nothing waits for that.
    """

    def __init__(self, limits: DispatchLimits, roster: Roster, work: Work, quarantine: Quarantine) -> None:
        self.due = inf
        self._limits = limits
        self._roster = roster
        self._work = work
        self._quarantine = quarantine
        self._fed_at = 0.0  # when a replica had bulk work last, or none waited

    def feed(self, now: float) -> list[Command]:
        """A chunk that makes way for nobody, if online work has let none in for long; to be called now and then.

        It goes beyond the replica's window, which online work without end would fill again and again.
        """
        serving = [replica for replica in self._roster.serving if replica.full_until <= now]
        if not self._work.bulk or not serving or any(replica.bulk for replica in self._roster.serving):
            self._fed_at = now
        if now - self._fed_at < _STARVED_S:
            return []
        replica = min(serving, key=lambda replica: replica.eta(now))
        chunk = self._next(replica, replica.chunk_tokens, is_starved=True)
        if chunk is None or self._quarantine.holds(chunk, now):
            return []
        self._fed_at = now
        self._work.send(chunk, replica, now)
        return [Send(chunk, replica)]

    def dispatch(self, now: float, *, is_online: bool) -> list[Command]:
        """To each replica that is about to run dry a chunk.

        Args:
            now: in seconds.
            is_online: whether there is online work to make way for.
        """
        commands: list[Command] = []
        sends: list[Send] | None = None
        while sends is None or any(send.replica.eta(now) <= EARLY_S for send in sends):
            sends = self._send_round(now, is_online=is_online)
            commands += sends
        return commands

    def _send_round(self, now: float, *, is_online: bool) -> list[Send]:
        """One chunk to each; who has had a small one may be about to run dry still."""
        self.due = inf
        sends: list[Send] = []
        spared = self._spared(is_online=is_online)
        early = sorted(self._roster.serving, key=lambda replica: replica.eta(now))
        for number, replica in enumerate(early):
            if not self._work.bulk:
                break
            if takes_bulk(replica, self._roster.serving, now, spared=spared):
                ready = sum(other.eta(now) <= EARLY_S for other in early[number:])
                sends += self._fill(replica, self._tokens(replica, ready, now, is_online=is_online), now)
            if replica.free_at > now + EARLY_S:
                self.due = min(self.due, replica.free_at - EARLY_S)
        return sends

    def _fill(self, replica: Replica, tokens: int, now: float) -> list[Send]:
        """So many tokens to one replica, in several calls where the texts that it takes in one are too short for them.

        It computes what waits for it together: of 32 titles a call, one call at a time, its fixed cost would be most.
        """
        sends: list[Send] = []
        left = tokens
        while left >= _REFILL * tokens:
            chunk = self._next(replica, left)
            if chunk is None:
                break
            if self._quarantine.holds(chunk, now):
                continue
            self._fed_at = now
            self._work.send(chunk, replica, now)
            sends.append(Send(chunk, replica))
            left -= chunk.tokens
            if chunk.texts < replica.abilities.batch_texts or replica.online:
                break
        return sends

    def _spared(self, *, is_online: bool) -> int:
        """How many to keep without bulk: the more replicas, the less it costs bulk that some do not help."""
        serving = self._roster.serving
        if not self._limits.reserve or not is_online or len(serving) < 2:
            return 0
        round_tokens = sum(replica.chunk_tokens for replica in serving)
        if self._work.bulk.tokens >= _RESERVE_ROUNDS * (len(serving) - 1) * round_tokens:
            return 0
        return ceil(len(serving) / _REPLICAS_PER_SPARED)

    def _tokens(self, replica: Replica, ready: int, now: float, *, is_online: bool) -> int:
        """Of the next chunk: small enough for online work to come in soon, and to use all that is idle."""
        waiting = self._work.bulk.tokens
        if not is_online or waiting > _BACKLOG_S * self._roster.tokens_per_s:
            tokens = int(_FULL * replica.abilities.batch_tokens)
        else:
            tokens = replica.chunk_tokens
        share = -(-waiting // max(1, ready))
        tokens = min(tokens, max(share, int(_SMALLEST_SHARE * tokens)))
        if not is_online:
            return tokens
        ends = [max(now, other.free_at) for other in self._roster.serving if other is not replica and other.tokens]
        return staggered(tokens, now + replica.eta(now), ends, replica.pace.real_cost)

    def _next(self, replica: Replica, tokens: int, *, is_starved: bool = False) -> Chunk | None:
        """What is to be sent again and may be sent here, else the next of the first request; None if it has no room."""
        queue = self._work.bulk
        for chunk in queue.returned:
            spares = replica.id in chunk.tried and self._roster.has_untried(chunk)
            if not spares and fits(replica, chunk.tokens, chunk.texts, is_starved=is_starved):
                queue.take_back(chunk)
                return chunk
        if not queue.requests:
            return None
        request = queue.requests[0]
        if request.batch is None:
            if not fits(replica, request.tokens, request.texts, is_starved=is_starved):
                return None
            queue.remove(request)
            return request
        if not fits(replica, most_tokens(request.batch, tokens), 1, is_starved=is_starved):
            return None
        abilities = replica.abilities
        most = min(abilities.batch_texts, replica.permits)
        room = max(1, min(most, replica.permits - replica.texts))
        if room < most and request.batch.spare_parts <= 0:
            return None  # it would have to be cut once more than it may be
        if room < most:
            request.batch.spare_parts -= 1
        items, cut = carve(request.batch, Bounds(tokens, room, abilities.body_bytes))
        queue.tokens -= cut
        if request.batch.is_taken:
            queue.requests.popleft()
        return part_of(request, request.batch, items, cut)
