"""Quarantine: a request that a replica died with is retried alone, so that a deadly request harms no other.

A replica that dies was killed from outside or by one of its requests: by an input on which the server's code panics, or
which is too large for its memory. So each of its requests is accused. An accused request waits until one replica is
empty, and is sent there alone. If that replica answers, the request is acquitted. If that replica dies too, the request
is guilty: it is refused, and equal requests are refused for some minutes. There is one trial at a time. The last
serving replica is not used for trials while others are down.
"""

from collections.abc import Sequence

from embedfleet.errors import QueryOfDeath, Unanswerable
from embedfleet.gateway.dispatch.commands import Command, Refuse, Send, Separate
from embedfleet.gateway.dispatch.limits import DispatchLimits
from embedfleet.gateway.dispatch.open_requests import OpenRequests
from embedfleet.gateway.dispatch.pool import Pool
from embedfleet.gateway.dispatch.replica import Replica
from embedfleet.gateway.dispatch.request import Chunk, Request
from embedfleet.gateway.dispatch.splitting import split_evenly, split_state_of
from embedfleet.gateway.dispatch.text_records import UNANSWERABLE_S, Standing
from embedfleet.types import ReplicaState

REASON = "quarantine"
_UNANSWERABLE = "unanswerable"
# The request of a client that has just left may be the deadly one. If a replica dies within this time after a client
# left, that client's texts are accused too.
_LEFT_S = 60.0


class Quarantine:
    """Accused requests, and the replica that is kept free for their trials.

    Args:
        pool: Replicas of the service.
        requests: Open requests, with the queue of accused chunks and the records of texts.

    Attributes:
        cell: Replica that is kept free, or is being emptied; None while no request is accused, or none can be risked.
        acquitted: Number of trials that ended with an answer, since the start.
        convicted: Number of trials that ended with the death of the replica.
        repeated_tokens: Estimated tokens of chunks that were sent again for a trial.
    """

    def __init__(self, pool: Pool, requests: OpenRequests) -> None:
        self.cell: Replica | None = None
        self.acquitted = self.convicted = self.repeated_tokens = 0
        self._pool = pool
        self._requests = requests
        self._queue = requests.accused_queue
        self._records = requests.records

    # new requests

    def turn_away(self, request: Request, now: float) -> list[Command]:
        """Refuse a request because of its texts' records; separate a shared one, so that each text is judged alone."""
        if request.is_shared:
            return [*self._requests.abandon(request, now), Separate(request)]
        return self._refused(request, self._records.of(request.fingerprints, now), now)

    def split(self, request: Request, limits: DispatchLimits, now: float) -> Sequence[Chunk]:
        """Split a request so that each accused text becomes a part of its own, which shows the deadly one."""
        narrowest = self._pool.narrowest
        state = split_state_of(request, narrowest, by_length=False) if limits.split and request.texts > 1 else None
        if state is None:
            return [request]
        known = [self._records.of([one], now) for one in request.fingerprints]
        request.split_state = state
        accused = [item for item in state.order if known[item]]
        state.set_apart(accused)
        parts = [request.add_part(state, [item], state.costs[item]) for item in accused]
        if state.order:
            others = split_evenly(state, max(1, len(self._pool.serving)), narrowest)
            parts += [request.add_part(state, items, tokens) for items, tokens in others]
        return parts

    def holds(self, chunk: Chunk, now: float) -> bool:
        """Queue a chunk for a trial instead of a send, if it has a text with a record; return whether it has."""
        if not self._records.known or chunk.request.is_shared or not self._records.of(chunk.fingerprints, now):
            return False
        chunk.is_accused = True
        chunk.tried |= self._records.died_with(chunk.fingerprints)
        self._requests.wait_again(chunk)
        return True

    def withdraw(self, chunk: Chunk, now: float) -> list[Command]:
        """Take an online chunk out of its queue, because a replica has died with one of its texts since it arrived."""
        if chunk.request.is_shared:
            return self.turn_away(chunk.request, now)
        self._requests.online_queue.remove(chunk)
        self.holds(chunk, now)
        return []

    # deaths and answers of replicas

    def died(self, chunk: Chunk, replica: Replica, now: float) -> list[Command]:
        """Accuse a chunk of the death of a replica, or convict it if it was on trial there.

        Args:
            chunk: Unanswered chunk, already taken off the replica.
            replica: Replica that may have died of it.
            now: Time in seconds.
        """
        self._records.accuse(chunk.fingerprints, replica.id, now)
        if chunk.is_on_trial:
            return self._convict(chunk, replica, now)
        if chunk.request.is_shared:
            return [*self._requests.abandon(chunk.request, now), Separate(chunk.request)]
        chunk.is_accused = True
        if not chunk.replica_id and not chunk.request.is_over:  # else another replica has it, whose answer acquits it
            self._requests.wait_again(chunk)
        return []

    def call_back(self, chunk: Chunk, replica: Replica, now: float) -> list[Command]:
        """Take a chunk off the replicas that have it, and try it alone on another, because it may have silenced them.

        Args:
            chunk: The chunk.
            replica: One of the silent replicas.
            now: Time in seconds.
        """
        return [*self._requests.cancel(chunk, now), *self.died(chunk, replica, now)]

    def lost(self, replica: Replica, now: float) -> None:
        """Accuse the texts that were given up shortly before their replica's connections broke or it went down."""
        for fingerprints, left_at in replica.abandoned:
            if now - left_at < _LEFT_S:
                self._records.accuse(fingerprints, replica.id, now)
        replica.abandoned.clear()

    def hung(self, replica: Replica, now: float) -> list[Command]:
        """Accuse the overdue chunks of a replica that failed a probe; the first answer acquits them."""
        commands: list[Command] = []
        for chunk in [chunk for chunk in replica.chunks if replica.is_late_with(chunk, now)]:
            if not chunk.request.is_shared:
                chunk.is_accused = True
                self._records.accuse(chunk.fingerprints, replica.id, now)
            elif not chunk.copy_id:  # if it has a copy, the other replica's answer is awaited
                commands += self.call_back(chunk, replica, now)
        return commands

    def ended(self, replica: Replica) -> None:
        """Let a former cell serve again, once it no longer has the accused chunk over which it was silent."""
        if replica is not self.cell and replica.is_isolated:
            self._pool.isolate(replica, isolated=False)

    def release(self) -> None:
        """Let all former cells serve again, because all trials were cancelled."""
        for replica in self._pool.replicas.values():
            if not replica.is_trying:
                self.ended(replica)

    def acquit(self, chunk: Chunk) -> None:
        """Acquit an accused chunk, because a replica survived it, whatever its answer was."""
        self.acquitted += chunk.is_on_trial
        chunk.is_accused = chunk.is_on_trial = False
        self._records.acquit(chunk.fingerprints)

    # trials

    def dispatch(self, now: float) -> list[Command]:
        """Start the next trial, if a chunk waits for one and a replica is free for it."""
        commands = self._settle(now)
        chunk = self._next()
        if chunk is None and self._queue:  # an equal text is on trial at a silent replica
            return commands
        if chunk is None:
            if self.cell is not None and not self.cell.is_trying:
                self._leave_cell()
            return commands
        self._choose_cell(chunk, now)
        cell = self.cell
        if cell is None or cell.chunks or cell.full_until > now:
            return commands
        self._queue.remove(chunk)
        chunk.is_on_trial = True
        self.repeated_tokens += chunk.tokens if chunk.sends else 0
        self._requests.send(chunk, cell, now)
        return [*commands, Send(chunk, cell)]

    def _next(self) -> Chunk | None:
        """Return the first accused chunk without a text that is already on trial."""
        on_trial = {
            one
            for replica in self._pool.replicas.values()
            if replica.is_isolated
            for chunk in replica.chunks
            if chunk.is_on_trial
            for one in chunk.fingerprints
        }
        return next((chunk for chunk in self._queue if on_trial.isdisjoint(chunk.fingerprints)), None)

    def _settle(self, now: float) -> list[Command]:
        """Settle the first waiting chunks whose texts another trial has meanwhile acquitted or convicted."""
        commands: list[Command] = []
        while (chunk := self._queue.head) is not None:
            standing = self._records.of(chunk.fingerprints, now)
            if standing is Standing.ACCUSED:
                break
            self._queue.remove(chunk)
            chunk.is_accused = False
            if standing is Standing.NONE:
                self._requests.wait_again(chunk)
            else:
                commands += self._refused(chunk.request, standing, now)
        return commands

    def _choose_cell(self, chunk: Chunk, now: float) -> None:
        """Choose a replica that may be risked, if possible one that has not failed the chunk."""
        cell = self.cell
        if cell is not None:
            if cell.state is ReplicaState.ACTIVE and (cell.chunks or self._suits(cell, chunk)):
                return
            self._leave_cell()
        serving = [one for one in self._pool.serving if self._may_be_risked(one)]
        self.cell = min(serving, key=lambda one: (one.id in chunk.tried, bool(one.lost), one.eta(now)), default=None)
        if self.cell is not None:
            self._pool.isolate(self.cell, isolated=True)

    def _suits(self, cell: Replica, chunk: Chunk) -> bool:
        return self._may_be_risked(cell) and not (cell.id in chunk.tried and self._pool.has_untried(chunk))

    def _may_be_risked(self, replica: Replica) -> bool:
        """Return whether another replica serves, or no other exists; drained replicas do not count."""
        others = [one for one in self._pool.replicas.values() if one is not replica and not one.is_kept_out]
        return not others or any(one in self._pool.serving for one in others)

    def _leave_cell(self) -> None:
        """Stop keeping the cell free; it serves again once its trial has ended."""
        cell, self.cell = self.cell, None
        if cell is not None and not cell.is_trying:
            self._pool.isolate(cell, isolated=False)

    # ends

    def _convict(self, chunk: Chunk, replica: Replica, now: float) -> list[Command]:
        self.convicted += 1
        chunk.is_accused = chunk.is_on_trial = False
        request = chunk.request
        for fingerprints in (chunk.fingerprints, request.fingerprints):
            self._records.convict(fingerprints, replica.id, now)
        return [] if request.is_over else self._refused(request, Standing.GUILTY, now, chunk.items)

    def _refused(self, request: Request, standing: Standing, now: float, items: Sequence[int] = ()) -> list[Command]:
        commands = self._requests.abandon(request, now)
        if standing is Standing.GUILTY:
            return [*commands, Refuse(request, QueryOfDeath(items), REASON)]
        return [*commands, Refuse(request, Unanswerable(UNANSWERABLE_S), _UNANSWERABLE)]
