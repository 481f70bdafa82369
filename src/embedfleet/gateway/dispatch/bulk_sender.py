"""Sending of bulk work: requests are split as late as possible, for replicas that are about to run out of work."""

from math import ceil, inf

from embedfleet.gateway.dispatch.commands import Command, Send
from embedfleet.gateway.dispatch.limits import DispatchLimits
from embedfleet.gateway.dispatch.open_requests import OpenRequests
from embedfleet.gateway.dispatch.pool import Pool
from embedfleet.gateway.dispatch.quarantine import Quarantine
from embedfleet.gateway.dispatch.replica import Replica
from embedfleet.gateway.dispatch.replica_choice import EARLY_S, takes_bulk
from embedfleet.gateway.dispatch.request import Chunk, Request, SplitState
from embedfleet.gateway.dispatch.splitting import PartBounds, most_tokens, split_next, staggered

_BACKLOG_S = 2.0  # seconds of waiting bulk work above which throughput counts for more than the duration of one chunk
# Replicas are kept free only below a backlog of this many rounds per other replica; a round is one chunk for each.
_RESERVE_ROUNDS = 2
_REPLICAS_PER_SPARED = 8
_SMALLEST_SHARE = 0.25  # least share of its tokens to which a chunk shrinks, so that all idle replicas get work
_REFILL = 1 / 3  # share of a chunk's tokens; while at least that much is unsent, another call is sent
_STARVED_S = 2.0  # seconds without bulk work at any replica while some waits; then one chunk is sent regardless
_PACKED_SHARE = 0.25  # waiting bulk tokens, as a share of a batch for each replica, from which calls are packed
_FULL = 0.95  # share of a batch's tokens: estimates are inexact, and any excess would need a second batch


class BulkSender:
    """Sends what waits in the bulk queue.

    Args:
        limits: Limits of the dispatcher.
        pool: Replicas of the service.
        requests: Open requests, with the bulk queue.
        quarantine: Quarantine, for chunks with a text that a replica has died with since they arrived.

    Attributes:
        due: Time at which the next replica will be about to run out of work; infinite if no bulk work waits for that.
    """

    def __init__(self, limits: DispatchLimits, pool: Pool, requests: OpenRequests, quarantine: Quarantine) -> None:
        self.due = inf
        self._limits = limits
        self._pool = pool
        self._requests = requests
        self._queue = requests.bulk_queue
        self._quarantine = quarantine
        self._fed_at = 0.0  # last time at which a replica had bulk work, or no bulk work waited

    def feed(self, now: float) -> list[Command]:
        """Send one chunk if online work has long kept all bulk work waiting; called on every tick.

        The chunk ignores the replica's window, because continuous online work would always fill it.
        """
        available = [replica for replica in self._pool.serving if replica.is_available(now)]
        if not self._queue or not available or any(replica.bulk_chunks for replica in self._pool.serving):
            self._fed_at = now
        if now - self._fed_at < _STARVED_S:
            return []
        replica = min(available, key=lambda replica: replica.eta(now))
        chunk = self._next(replica, replica.chunk_tokens, ignores_window=True)
        if chunk is None or self._quarantine.holds(chunk, now):
            return []
        self._fed_at = now
        self._requests.send(chunk, replica, now)
        return [Send(chunk, replica)]

    def dispatch(self, now: float, *, has_online: bool) -> list[Command]:
        """Send chunks to each replica that is about to run out of work.

        Args:
            now: Time in seconds.
            has_online: Whether online work is present, for which bulk work makes way.
        """
        commands: list[Command] = []
        sends: list[Send] | None = None
        while sends is None or any(send.replica.eta(now) <= EARLY_S for send in sends):
            sends = self._send_round(now, has_online=has_online, packs=self._packs(has_online=has_online))
            commands += sends
        return commands

    def _packs(self, *, has_online: bool) -> bool:
        """Return whether enough bulk work waits to be sent a batch ahead, so that replicas pack calls into batches.

        A server that forms its next batch while one runs puts only that into it which it has by then. With calls of
        short texts that come just in time, each call would be a batch of its own.
        """
        return not has_online and self._queue.tokens >= _PACKED_SHARE * self._pool.batch_tokens

    def _send_round(self, now: float, *, has_online: bool, packs: bool) -> list[Send]:
        """Fill once each replica that is about to run out of work; after a small chunk it may need another round."""
        self.due = inf
        sends: list[Send] = []
        spared = self._spared(has_online=has_online)
        early = sorted(self._pool.serving, key=lambda replica: replica.eta(now))
        for number, replica in enumerate(early):
            if not self._queue:
                break
            lead_s = EARLY_S + replica.batch_work_s if packs else EARLY_S
            if takes_bulk(replica, self._pool.serving, now, spared=spared, lead_s=lead_s):
                ready = sum(other.eta(now) <= lead_s for other in early[number:])
                tokens = self._tokens(replica, ready, now, has_online=has_online)
                sends += self._fill(replica, tokens, now, packs=packs)
            if replica.free_at > now + lead_s:
                self.due = min(self.due, replica.free_at - lead_s)
        return sends

    def _fill(self, replica: Replica, tokens: int, now: float, *, packs: bool) -> list[Send]:
        """Send one replica about ``tokens`` tokens, in several calls if one call holds too few.

        The replica batches the calls that wait for it. With one call of 32 short titles at a time, it would spend most
        of its time on the fixed cost of batches.

        Args:
            replica: Replica that gets the calls.
            tokens: Tokens to send.
            now: Time in seconds.
            packs: Whether the texts of several requests are sent; otherwise only those of the first one.
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
            self._requests.send(chunk, replica, now)
            sends.append(Send(chunk, replica))
            left -= chunk.tokens
            if replica.online_chunks or (chunk.texts < replica.abilities.batch_texts and not packs):
                break
        return sends

    def _spared(self, *, has_online: bool) -> int:
        """Return the number of replicas to keep free of bulk work; in a large pool, a few cost little throughput."""
        serving = self._pool.serving
        if not self._limits.reserve or not has_online or len(serving) < 2:
            return 0
        round_tokens = sum(replica.chunk_tokens for replica in serving)
        if self._queue.tokens >= _RESERVE_ROUNDS * (len(serving) - 1) * round_tokens:
            return 0
        return ceil(len(serving) / _REPLICAS_PER_SPARED)

    def _tokens(self, replica: Replica, ready: int, now: float, *, has_online: bool) -> int:
        """Return the tokens of the next chunk, small enough to let online work in soon and to use all idle replicas.

        Args:
            replica: Replica that gets the chunk.
            ready: Number of replicas that are about to run out of work.
            now: Time in seconds.
            has_online: Whether online work is present, for which bulk work makes way.
        """
        waiting = self._queue.tokens
        if not has_online or waiting > _BACKLOG_S * self._pool.tokens_per_s:
            tokens = int(_FULL * replica.abilities.batch_tokens)
        else:
            tokens = replica.chunk_tokens
        share = -(-waiting // max(1, ready))
        tokens = min(tokens, max(share, int(_SMALLEST_SHARE * tokens)))
        if not has_online:
            return tokens
        ends = [max(now, other.free_at) for other in self._pool.serving if other is not replica and other.tokens]
        return staggered(tokens, now + replica.eta(now), ends, replica.pace.real_cost)

    def _next(self, replica: Replica, tokens: int, *, ignores_window: bool = False) -> Chunk | None:
        """Take the next chunk out of the queue: a returned chunk, else one from the first request.

        Args:
            replica: Replica that gets the chunk.
            tokens: Most tokens of a new chunk.
            ignores_window: Whether only the number of texts limits what the replica gets.

        Returns:
            The chunk; None if the replica has no room for the next one.
        """
        for chunk in self._queue.returned:
            belongs_elsewhere = replica.id in chunk.tried and self._pool.has_untried(chunk)
            if not belongs_elsewhere and replica.has_room(chunk.tokens, chunk.texts, ignores_window=ignores_window):
                self._queue.take_back(chunk)
                return chunk
        if not self._queue.requests:
            return None
        request = self._queue.requests[0]
        state = request.split_state
        if state is not None:
            return self._split_off(request, state, replica, tokens, ignores_window=ignores_window)
        if not replica.has_room(request.tokens, request.texts, ignores_window=ignores_window):
            return None
        self._queue.remove(request)
        return request

    def _split_off(
        self, request: Request, state: SplitState, replica: Replica, tokens: int, *, ignores_window: bool
    ) -> Chunk | None:
        """Split the next part off a request; return None if the replica has no room for one."""
        if not replica.has_room(most_tokens(state, tokens), 1, ignores_window=ignores_window):
            return None
        abilities = replica.abilities
        most = min(abilities.batch_texts, replica.permits)
        room = max(1, min(most, replica.permits - replica.texts))
        if room < most and state.spare_parts <= 0:
            return None  # a part this small would need one part more than is allowed
        if room < most:
            state.spare_parts -= 1
        items, part_tokens = split_next(state, PartBounds(tokens, room, abilities.body_bytes))
        self._queue.tokens -= part_tokens
        if state.is_complete:
            self._queue.requests.popleft()
        return request.add_part(state, items, part_tokens)
