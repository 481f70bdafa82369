"""The requests that are not over, and where each of their chunks is: in a queue, at replicas, or done."""

from collections.abc import Sequence

from embedfleet.errors import Unhealthy
from embedfleet.gateway.dispatch.capabilities import Capabilities
from embedfleet.gateway.dispatch.commands import Cancel, Command, Refuse
from embedfleet.gateway.dispatch.limits import DispatchLimits
from embedfleet.gateway.dispatch.pool import Pool
from embedfleet.gateway.dispatch.queues import AccusedQueue, BulkQueue, OnlineQueue
from embedfleet.gateway.dispatch.repeat_budget import Budget
from embedfleet.gateway.dispatch.replica import Replica
from embedfleet.gateway.dispatch.request import Chunk, Request
from embedfleet.gateway.dispatch.splitting import WHOLE_TOKENS, split_evenly, split_state_of
from embedfleet.gateway.dispatch.suspicion import patience_s
from embedfleet.gateway.dispatch.text_records import TextRecords

_CHANGED = "the model was changed while this was computed: ask again"
_RETRY_SHARE, _HEDGE_SHARE, _BURST_BATCHES = 0.10, 0.05, 4


class OpenRequests:
    """Requests that are not over, with the queues and budgets of their chunks.

    Every method preserves three invariants: a chunk is in a queue, or at one or two replicas, or done; the load of a
    replica is the sum of its chunks; a request that is over has no chunk anywhere, except accused ones at replicas.

    Args:
        pool: Replicas of the service.
        records: Records of texts that replicas died with or could not answer.
        prefer_online: Whether online and bulk work are two classes; if not, all work waits in the online queue.

    Attributes:
        open: The requests, in order of arrival.
        online_queue: Online chunks that wait.
        bulk_queue: Bulk requests and chunks that wait.
        accused_queue: Chunks that wait for their trial.
        records: Records of texts that replicas died with or could not answer.
        queued_bytes: Bytes of the bodies of requests that had to wait, until they are over.
        sent_tokens: Estimated tokens that were sent for the first time.
        retry_budget: Budget of tokens that are sent again after a failure.
        hedge_budget: Budget of tokens that are also sent to a second replica, or on a second connection.
    """

    def __init__(self, pool: Pool, records: TextRecords, *, prefer_online: bool) -> None:
        self.open: dict[Request, None] = {}
        self.online_queue = OnlineQueue(by_deadline=prefer_online)
        self.bulk_queue = BulkQueue()
        self.accused_queue = AccusedQueue()
        self.records = records
        self.queued_bytes = 0
        self.sent_tokens = 0
        burst = _BURST_BATCHES * Capabilities().batch_tokens
        self.retry_budget = Budget(_RETRY_SHARE, burst)
        self.hedge_budget = Budget(_HEDGE_SHARE, burst)
        self._pool = pool

    # waiting

    @property
    def waiting(self) -> int:
        """Number of waiting requests and chunks."""
        bulk = self.bulk_queue
        return len(self.online_queue) + len(bulk.requests) + len(bulk.returned) + len(self.accused_queue)

    @property
    def waiting_tokens(self) -> int:
        """Estimated tokens of everything that waits."""
        return self.online_queue.tokens + self.bulk_queue.tokens + self.accused_queue.tokens

    def waiting_tokens_of_class(self, *, is_online: bool) -> int:
        """Return the estimated tokens that wait in the queue of a class; chunks that wait for a trial do not count."""
        return self.online_queue.tokens if is_online else self.bulk_queue.tokens

    def hold(self, request: Request) -> None:
        """Count the body of a request that has to wait."""
        request.queued_bytes = request.size_bytes
        self.queued_bytes += request.size_bytes

    def wait_again(self, chunk: Chunk) -> None:
        """Queue a chunk that no replica has any more; a bulk chunk goes ahead of the bulk requests."""
        if chunk.is_accused:
            self.accused_queue.push(chunk)
        elif chunk.is_online:
            self.online_queue.push(chunk)
        else:
            self.bulk_queue.give_back(chunk)

    # at replicas

    def send(self, chunk: Chunk, replica: Replica, now: float) -> None:
        """Record that a chunk is sent to a replica, the first or a second one."""
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
        """Take a chunk off a replica; if a second replica has it, that one becomes its only replica.

        Returns:
            Time at which the chunk was sent to the replica.
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
        """Take a chunk off one replica, because that replica's answer is no longer needed."""
        self.drop(chunk, replica, now)
        return [Cancel(chunk, replica), *self._pool.emptied(replica)]

    def may_repeat(self, chunk: Chunk) -> bool:
        """Spend the tokens of another send after a failure, if the budget allows it; return whether it did."""
        return self.retry_budget.spend(chunk.tokens, self.sent_tokens)

    def may_hedge(self, chunk: Chunk) -> bool:
        """Spend the tokens of a hedge, if the budget allows it; return whether it did."""
        return self.hedge_budget.spend(chunk.tokens, self.sent_tokens)

    # ends

    def abandon(self, request: Request, now: float) -> list[Command]:
        """End a request whose remaining answers are no longer needed.

        Accused chunks stay at their replicas until their trial ends; otherwise their texts could kill again unrecorded.
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
        """Take all chunks off the replicas and queue them again, because the model has changed.

        A request with answered parts is refused, because answers of two models must not be joined.
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
                    chunk.sends = 1  # this is its first send to the new model
                    self.wait_again(chunk)
        return commands

    def finish(self, request: Request) -> None:
        """Mark a request as over, and remove it from the open requests."""
        request.is_over = True
        if request.queued_bytes:
            self.queued_bytes -= request.queued_bytes
            request.queued_bytes = 0
        self.open.pop(request, None)


def split_at_once(request: Request, pool: Pool, limits: DispatchLimits) -> Sequence[Chunk]:
    """Return the chunks of an online request, all to be sent now: itself if small, else even parts for the replicas."""
    replicas = max(1, len(pool.serving))
    fits = request.texts <= pool.batch_texts and request.size_bytes <= pool.body_bytes
    if (fits and (replicas == 1 or request.tokens <= WHOLE_TOKENS)) or not limits.split or request.texts < 2:
        return [request]
    state = request.split_state = split_state_of(request, pool.narrowest, by_length=limits.sort_by_length)
    if state is None:
        return [request]
    parts = split_evenly(state, replicas, pool.narrowest)
    return [request.add_part(state, items, tokens) for items, tokens in parts]
