"""Retries after a replica's failure: the chunk is sent again or halved, or the client gets an error."""

from typing import Final

from embedfleet.errors import BadGateway, ServingError, Unhealthy
from embedfleet.gateway.dispatch.commands import Command, Failure, Refuse, Relay
from embedfleet.gateway.dispatch.limits import DispatchLimits
from embedfleet.gateway.dispatch.open_requests import OpenRequests
from embedfleet.gateway.dispatch.pool import Pool
from embedfleet.gateway.dispatch.quarantine import Quarantine
from embedfleet.gateway.dispatch.replica import Replica
from embedfleet.gateway.dispatch.request import Chunk, RequestPart, SplitState
from embedfleet.gateway.dispatch.splitting import split_state_of

BLAMED = 424
RETRIED = frozenset({BLAMED, 500, 502, 503, 504})
THROTTLED = 429
TROUBLE: Final = RETRIED | {THROTTLED}
"""Statuses that are not relayed at once, because another replica may do better."""
_ALIVE: Final = frozenset({Failure.MALFORMED, Failure.BROKEN})  # failures that prove a live process

_HALVES: Final = 2


class Retries:
    """Decides what happens to a chunk that a replica failed; the table in the package's docstring lists the cases.

    The caller has already taken the chunk off the replica.

    Args:
        limits: Limits of the dispatcher.
        pool: Replicas of the service.
        requests: Open requests, with the queues for chunks that are sent again.
        quarantine: Quarantine, for chunks that a replica died with.
    """

    def __init__(self, limits: DispatchLimits, pool: Pool, requests: OpenRequests, quarantine: Quarantine) -> None:
        self._limits = limits
        self._pool = pool
        self._requests = requests
        self._quarantine = quarantine

    def after_status(self, chunk: Chunk, replica: Replica, status: int, now: float) -> list[Command]:
        """Handle an answer with one of the statuses in `TROUBLE`."""
        if status == THROTTLED:
            return self._throttled(chunk, replica, now)
        chunk.tried |= {replica.id}
        chunk.unanswered_by |= {replica.id}
        self._pool.failed(replica, f"answered {status}", now)
        if chunk.replica_id or chunk.request.is_over:  # another replica has a copy, or the client left
            return []
        has_untried = self._pool.has_untried(chunk)
        is_blamed = status == BLAMED and (chunk.is_blamed or not has_untried)
        if is_blamed and chunk.texts > 1 and self._halve(chunk):
            return []
        chunk.is_blamed = chunk.is_blamed or status == BLAMED
        may_send = chunk.sends < self._limits.sends and has_untried
        if not is_blamed and may_send and self._requests.may_repeat(chunk):
            self._requests.wait_again(chunk)
            return []
        return [*self._requests.abandon(chunk.request, now), Relay(chunk)]

    def after_failure(self, chunk: Chunk, replica: Replica, failure: Failure, now: float) -> list[Command]:
        """Handle a missing or unusable answer."""
        if chunk.is_accused:
            self._quarantine.ended(replica)
        if failure is Failure.STARVED:
            return self._starved(chunk, replica, now)
        chunk.tried |= {replica.id}
        if failure in _ALIVE:
            self._unanswered(chunk, replica, failure, now)
        else:
            self._pool.eject(replica, failure.value.replace("_", " "))
            self._quarantine.lost(replica, now)
        if failure is Failure.RESET or (failure is Failure.TIMED_OUT and chunk.is_accused):
            return self._quarantine.died(chunk, replica, now)
        if failure is Failure.REFUSED:
            chunk.sends -= 1
        if chunk.replica_id or chunk.request.is_over:
            return []
        if chunk.sends >= self._limits.sends:
            if failure in _ALIVE and self._is_at_fault(chunk):
                self._requests.records.give_up(chunk.fingerprints, now)
            error: ServingError = BadGateway(
                f"this request failed at replicas {chunk.sends} times, the last time: {failure.value}"
            )
            return [*self._requests.abandon(chunk.request, now), Refuse(chunk.request, error, "sends")]
        if failure is not Failure.REFUSED and not self._requests.may_repeat(chunk):
            error = Unhealthy(f"a replica failed this request ({failure.value}), and the budget of retries is spent")
            return [*self._requests.abandon(chunk.request, now), Refuse(chunk.request, error, "retry-budget")]
        self._requests.wait_again(chunk)
        return []

    def note_success(self, chunk: Chunk) -> None:
        """Eject replicas that failed several times in a row, now at a chunk that another replica has answered."""
        for name in chunk.unanswered_by:
            replica = self._pool.replicas.get(name)
            if replica is not None:
                self._pool.eject_failing(replica)

    def _unanswered(self, chunk: Chunk, replica: Replica, failure: Failure, now: float) -> None:
        """Record an unusable answer of a live replica; a probe and other replicas will show which side is at fault."""
        chunk.unanswered_by |= {replica.id}
        replica.failures = max(replica.failures + 1, self._limits.failures)  # counts as several error statuses in a row
        self._pool.doubt(replica, failure.value, now)
        if chunk.is_accused:
            self._quarantine.acquit(chunk)

    def _is_at_fault(self, chunk: Chunk) -> bool:
        """Return whether an unanswered chunk is at fault, rather than a single replica that had it each time."""
        return len(chunk.unanswered_by) > 1 or len(self._pool.replicas) == 1

    def _throttled(self, chunk: Chunk, replica: Replica, now: float) -> list[Command]:
        """Handle a 429: the replica has too much work or, if it had nothing else, the chunk itself is too much."""
        chunk.sends -= 1
        if chunk.replica_id or chunk.request.is_over:
            return []
        if not replica.chunks:
            chunk.too_much_for |= {replica.id}
            active = self._pool.active
            if active and all(other.id in chunk.too_much_for for other in active):
                return [*self._requests.abandon(chunk.request, now), Relay(chunk)]
        replica.pause_until(now + self._limits.full_s)
        replica.slow_down()
        replica.widen(now, self._limits.slow_start_s)
        self._requests.wait_again(chunk)
        return []

    def _starved(self, chunk: Chunk, replica: Replica, now: float) -> list[Command]:
        """Handle a chunk that was not sent; a connection is free once the replica gives any answer."""
        chunk.sends -= 1
        if chunk.starved_at is None:
            chunk.starved_at = now
        if chunk.replica_id or chunk.request.is_over:
            return []
        if now - chunk.starved_at > self._limits.no_replica_s:
            error = Unhealthy("the gateway has no files, memory or ports left for connections to replicas")
            return [*self._requests.abandon(chunk.request, now), Refuse(chunk.request, error, "starved")]
        replica.pause_until(now + self._limits.full_s)
        self._requests.wait_again(chunk)
        return []

    def _halve(self, chunk: Chunk) -> bool:
        """Halve a chunk after answers of 424, to find the text at fault; return whether it could be halved."""
        request = chunk.request
        state = request.split_state
        if state is None:
            state = request.split_state = self._whole_in_one_part(chunk)
            if state is None:
                return False
        items = chunk.items or state.order
        if state.spare_parts < _HALVES or not self._requests.may_repeat(chunk):
            return False
        state.spare_parts -= _HALVES
        if isinstance(chunk, RequestPart):
            del state.parts[chunk]
        middle = len(items) // 2
        for half in (items[:middle], items[middle:]):
            part = request.add_part(state, half, sum(state.costs[item] for item in half))
            part.is_blamed = part.was_sent = True
            self._requests.wait_again(part)
        return True

    def _whole_in_one_part(self, chunk: Chunk) -> SplitState | None:
        """Return the split state of a request that went whole; None if it cannot be split."""
        if not self._limits.split:
            return None
        state = split_state_of(chunk.request, self._pool.narrowest, by_length=False)
        if state is not None:
            state.take_all()
        return state
