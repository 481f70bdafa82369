"""The requests that are not over: what of them waits, what is at replicas, and how it moves between the two."""

from collections.abc import Sequence

from embedfleet.errors import Unhealthy
from embedfleet.gateway.dispatch.budget import Budget
from embedfleet.gateway.dispatch.command import Cancel, Command, Refuse
from embedfleet.gateway.dispatch.limits import DispatchLimits
from embedfleet.gateway.dispatch.pool import Roster
from embedfleet.gateway.dispatch.queues import AccusedQueue, BulkQueue, OnlineQueue
from embedfleet.gateway.dispatch.replica import Abilities, Replica
from embedfleet.gateway.dispatch.request import Batch, Chunk, Part, Request
from embedfleet.gateway.dispatch.splitting import SCATTER_TOKENS, divided, scatter
from embedfleet.gateway.dispatch.suspicion import patience_s
from embedfleet.gateway.dispatch.verdicts import Verdicts

_CHANGED = "the model was changed while this was computed: ask again"
_RETRY_SHARE, _HEDGE_SHARE, _BURST_BATCHES = 0.10, 0.05, 4


class Work:
    """Every step keeps three things true.

    A chunk is in a queue, or at one or two replicas, or done; what a replica counts is what it has; a request that is
    over is nowhere.

    Args:
        roster: of the replicas.
        verdicts: see below.
        prefer_online: whether there are two classes; if not, all work waits in the online queue.

    Attributes:
        open: requests, in order of arrival.
        online: chunks that wait.
        bulk: requests and chunks that wait.
        accused: chunks that wait for their trial.
        verdicts: what is known of texts that a replica died with.
        queued_bytes: of the bodies of requests that waited, until they are over.
        sent_tokens: for the first time.
        retries: what may be sent again after a failure.
        hedges: what may be sent to a second replica.
    """

    def __init__(self, roster: Roster, verdicts: Verdicts, *, prefer_online: bool) -> None:
        self.open: dict[Request, None] = {}
        self.online = OnlineQueue(by_deadline=prefer_online)
        self.bulk = BulkQueue()
        self.accused = AccusedQueue()
        self.verdicts = verdicts
        self.queued_bytes = 0
        self.sent_tokens = 0
        burst = _BURST_BATCHES * Abilities().batch_tokens
        self.retries = Budget(_RETRY_SHARE, burst)
        self.hedges = Budget(_HEDGE_SHARE, burst)
        self._roster = roster

    # waiting

    def hold(self, request: Request) -> None:
        """Count the body of a request that has to wait."""
        request.queued_bytes = request.size_bytes
        self.queued_bytes += request.size_bytes

    def wait_again(self, chunk: Chunk) -> None:
        """No replica has the chunk any more: it goes before all that came later."""
        if chunk.is_accused:
            self.accused.push(chunk)
        elif chunk.online:
            self.online.push(chunk)
        else:
            self.bulk.give_back(chunk)

    # at replicas

    def send(self, chunk: Chunk, replica: Replica, now: float) -> None:
        """A chunk goes to a replica, or to a second one."""
        if chunk.replica is None:
            chunk.replica = replica
        else:
            chunk.copy = replica
        chunk.sends += 1
        if not chunk.was_sent:
            chunk.was_sent = True
            self.sent_tokens += chunk.tokens
        chunk.sent_at = now
        chunk.due_at = now + patience_s(replica.take(chunk, now))

    def drop(self, chunk: Chunk, replica: Replica, now: float) -> float:
        """A chunk is no longer at a replica; where it is as well becomes where it is. Returns when that was asked."""
        sent_at = replica.drop(chunk, now)
        if chunk.replica is replica:
            chunk.replica, chunk.copy = chunk.copy, None
        else:
            chunk.copy = None
        return sent_at

    def cancel(self, chunk: Chunk, now: float) -> list[Command]:
        """Take a chunk off every replica that has it."""
        commands: list[Command] = []
        while (replica := chunk.replica) is not None:
            commands += self.take_off(chunk, replica, now)
        return commands

    def take_off(self, chunk: Chunk, replica: Replica, now: float) -> list[Command]:
        """Nobody wants this replica's answer to a chunk any more."""
        self.drop(chunk, replica, now)
        return [Cancel(chunk, replica), *self._roster.emptied(replica)]

    # ends

    def abandon(self, request: Request, now: float) -> list[Command]:
        """Nobody wants the rest of a request. What is accused stays where it is, or it could kill again unseen."""
        chunks: list[Chunk] = [request, *(request.batch.parts if request.batch is not None else ())]
        commands: list[Command] = []
        for chunk in chunks:
            if chunk.replica is not None and not chunk.is_accused:
                chunk.replica.left.append((chunk.fingerprints, now))
                commands += self.cancel(chunk, now)
            self.online.remove(chunk)
            self.bulk.take_back(chunk)
            self.accused.remove(chunk)
        self.bulk.remove(request)
        self.finish(request)
        return commands

    def start_over(self, now: float) -> list[Command]:
        """What replicas have is not wanted from them any more: it waits again.

        A request of which parts are answered is refused: those answers would not go together with the rest's.
        """
        commands: list[Command] = []
        for request in list(self.open):
            batch = request.batch
            if batch is not None and batch.unanswered < len(batch.costs):
                commands += self.abandon(request, now)
                commands.append(Refuse(request, Unhealthy(_CHANGED), "new-model"))
                continue
            for chunk in (request, *(batch.parts if batch is not None else ())):
                if chunk.replica is not None:
                    commands += self.cancel(chunk, now)
                    chunk.sends = 1  # to the new model it goes for the first time
                    self.wait_again(chunk)
        return commands

    def finish(self, request: Request) -> None:
        """A request is over, and nothing of it is anywhere."""
        request.over = True
        if request.queued_bytes:
            self.queued_bytes -= request.queued_bytes
            request.queued_bytes = 0
        self.open.pop(request, None)


def part_of(request: Request, batch: Batch, items: Sequence[int], tokens: int) -> Part:
    """A new part of a request that is cut."""
    part = request.part(items, tokens)
    batch.parts[part] = None
    return part


def cut_at_once(request: Request, roster: Roster, limits: DispatchLimits) -> Sequence[Chunk]:
    """A request in chunks that all may be sent now: whole where it is small, else spread evenly over the replicas."""
    replicas = max(1, len(roster.serving))
    fits = request.texts <= roster.batch_texts and request.size_bytes <= roster.body_bytes
    if (fits and (replicas == 1 or request.tokens <= SCATTER_TOKENS)) or not limits.split or request.texts < 2:
        return [request]
    batch = request.batch = divided(request, roster.narrowest, by_length=limits.sort_by_length)
    if batch is None:
        return [request]
    cuts = scatter(batch, replicas, roster.narrowest)
    return [part_of(request, batch, items, tokens) for items, tokens in cuts]
