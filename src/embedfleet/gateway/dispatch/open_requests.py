"""The requests that are not over: which of their chunks wait, which are at replicas, and how chunks move between."""

from collections.abc import Sequence

from embedfleet.errors import Unhealthy
from embedfleet.gateway.dispatch.abilities import Abilities
from embedfleet.gateway.dispatch.budget import Budget
from embedfleet.gateway.dispatch.commands import Cancel, Command, Refuse
from embedfleet.gateway.dispatch.limits import DispatchLimits
from embedfleet.gateway.dispatch.pool import Pool
from embedfleet.gateway.dispatch.queues import AccusedQueue, BulkQueue, OnlineQueue
from embedfleet.gateway.dispatch.replica import Replica
from embedfleet.gateway.dispatch.request import Chunk, Request
from embedfleet.gateway.dispatch.splitting import WHOLE_TOKENS, split_evenly, split_state_of
from embedfleet.gateway.dispatch.suspicion import patience_s
from embedfleet.gateway.dispatch.text_records import TextRecords

_CHANGED = "the model was changed while this was computed: ask again"
_RETRY_SHARE, _HEDGE_SHARE, _BURST_BATCHES = 0.10, 0.05, 4


class OpenRequests:
    """Requests that are not over.

    Every step keeps three things true: a chunk is in a queue, or at one or two replicas, or done; the load of a replica
    is the sum of the chunks that it has; nothing of a request that is over is anywhere.

    Args:
        pool: Replicas of the service.
        records: Records of texts that a replica died with.
        prefer_online: Whether there are two classes; if not, all work waits in the online queue.

    Attributes:
        open: The requests, in order of arrival.
        online_queue: Online chunks that wait.
        bulk_queue: Bulk requests and chunks that wait.
        accused_queue: Chunks that wait for their trial.
        records: Records of texts that a replica died with.
        queued_bytes: Bytes of the bodies of requests that had to wait, until they are over.
        sent_tokens: Estimated tokens that were sent for the first time.
        retry_budget: Tokens that may be sent again after a failure.
        hedge_budget: Tokens that may be sent to a second replica.
    """

    def __init__(self, pool: Pool, records: TextRecords, *, prefer_online: bool) -> None:
        self.open: dict[Request, None] = {}
        self.online_queue = OnlineQueue(by_deadline=prefer_online)
        self.bulk_queue = BulkQueue()
        self.accused_queue = AccusedQueue()
        self.records = records
        self.queued_bytes = 0
        self.sent_tokens = 0
        burst = _BURST_BATCHES * Abilities().batch_tokens
        self.retry_budget = Budget(_RETRY_SHARE, burst)
        self.hedge_budget = Budget(_HEDGE_SHARE, burst)
        self._pool = pool

    # waiting

    @property
    def waiting(self) -> int:
        """Number of requests and chunks that wait."""
        bulk = self.bulk_queue
        return len(self.online_queue) + len(bulk.requests) + len(bulk.returned) + len(self.accused_queue)

    @property
    def waiting_tokens(self) -> int:
        """Estimated tokens that wait."""
        return self.online_queue.tokens + self.bulk_queue.tokens + self.accused_queue.tokens

    def waiting_tokens_of_class(self, *, is_online: bool) -> int:
        """Return the estimated tokens of one class that wait, without those that wait for a trial."""
        return self.online_queue.tokens if is_online else self.bulk_queue.tokens

    def hold(self, request: Request) -> None:
        """Count the body of a request that has to wait."""
        request.queued_bytes = request.size_bytes
        self.queued_bytes += request.size_bytes

    def wait_again(self, chunk: Chunk) -> None:
        """Put a chunk that no replica has any more before everything that came later."""
        if chunk.is_accused:
            self.accused_queue.push(chunk)
        elif chunk.is_online:
            self.online_queue.push(chunk)
        else:
            self.bulk_queue.give_back(chunk)

    # at replicas

    def send(self, chunk: Chunk, replica: Replica, now: float) -> None:
        """Note that a chunk goes to a replica, or to a second one."""
        if chunk.replica_id:
            chunk.copy_id = replica.id
        else:
            chunk.replica_id = replica.id
        chunk.sends += 1
        if not chunk.was_sent:
            chunk.was_sent = True
            self.sent_tokens += chunk.tokens
        chunk.sent_at = now
        chunk.due_at = now + patience_s(replica.take(chunk, now))

    def drop(self, chunk: Chunk, replica: Replica, now: float) -> float:
        """Take a chunk off a replica; if a second one has it, that becomes its replica.

        Returns:
            Time at which it was sent to the replica.
        """
        sent_at = replica.drop(chunk, now)
        if chunk.replica_id == replica.id:
            chunk.replica_id, chunk.copy_id = chunk.copy_id, ""
        else:
            chunk.copy_id = ""
        return sent_at

    def cancel(self, chunk: Chunk, now: float) -> list[Command]:
        """Take a chunk off every replica that has it."""
        commands: list[Command] = []
        while chunk.replica_id:
            commands += self.take_off(chunk, self._pool.replicas[chunk.replica_id], now)
        return commands

    def take_off(self, chunk: Chunk, replica: Replica, now: float) -> list[Command]:
        """Take a chunk off one replica, whose answer is no longer wanted."""
        self.drop(chunk, replica, now)
        return [Cancel(chunk, replica), *self._pool.emptied(replica)]

    def may_repeat(self, chunk: Chunk) -> bool:
        """Return whether the budget allows a further sending after a failure, and spend it."""
        return self.retry_budget.spend(chunk.tokens, self.sent_tokens)

    def may_hedge(self, chunk: Chunk) -> bool:
        """Return whether the budget allows sending a chunk to a second replica, and spend it."""
        return self.hedge_budget.spend(chunk.tokens, self.sent_tokens)

    # ends

    def abandon(self, request: Request, now: float) -> list[Command]:
        """End a request whose remaining answers are no longer wanted.

        Accused chunks stay at their replicas until their trial ends, or their texts could kill again without a trace.
        """
        commands: list[Command] = []
        for chunk in request.chunks():
            if chunk.replica_id and not chunk.is_accused:
                self._pool.replicas[chunk.replica_id].abandoned.append((chunk.fingerprints, now))
                commands += self.cancel(chunk, now)
            self.online_queue.remove(chunk)
            self.bulk_queue.take_back(chunk)
            self.accused_queue.remove(chunk)
        self.bulk_queue.remove(request)
        self.finish(request)
        return commands

    def start_over(self, now: float) -> list[Command]:
        """Take everything off the replicas and let it wait again, because the model has changed.

        A request with answered parts is refused: those answers do not go together with the rest's.
        """
        commands: list[Command] = []
        for request in list(self.open):
            if request.split_state is not None and request.split_state.has_answers:
                commands += self.abandon(request, now)
                commands.append(Refuse(request, Unhealthy(_CHANGED), "new-model"))
                continue
            for chunk in request.chunks():
                if chunk.replica_id:
                    commands += self.cancel(chunk, now)
                    chunk.sends = 1  # the new model gets it for the first time
                    self.wait_again(chunk)
        return commands

    def finish(self, request: Request) -> None:
        """Note that a request is over and nothing of it is anywhere."""
        request.is_over = True
        if request.queued_bytes:
            self.queued_bytes -= request.queued_bytes
            request.queued_bytes = 0
        self.open.pop(request, None)


def split_at_once(request: Request, pool: Pool, limits: DispatchLimits) -> Sequence[Chunk]:
    """Return an online request as chunks that may all be sent now: whole if small, else even parts for the replicas."""
    replicas = max(1, len(pool.serving))
    fits = request.texts <= pool.batch_texts and request.size_bytes <= pool.body_bytes
    if (fits and (replicas == 1 or request.tokens <= WHOLE_TOKENS)) or not limits.split or request.texts < 2:
        return [request]
    state = request.split_state = split_state_of(request, pool.narrowest, by_length=limits.sort_by_length)
    if state is None:
        return [request]
    parts = split_evenly(state, replicas, pool.narrowest)
    return [request.add_part(state, items, tokens) for items, tokens in parts]
