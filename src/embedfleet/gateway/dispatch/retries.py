"""What follows when a replica did not do what it was asked: elsewhere again, in halves, or the client is told."""

from typing import Final

from embedfleet.errors import BadGateway, ServingError, Unhealthy
from embedfleet.gateway.dispatch.command import Command, Failure, Refuse, Relay
from embedfleet.gateway.dispatch.limits import DispatchLimits
from embedfleet.gateway.dispatch.pool import Roster
from embedfleet.gateway.dispatch.quarantine import Quarantine
from embedfleet.gateway.dispatch.replica import Replica
from embedfleet.gateway.dispatch.request import Chunk, Part
from embedfleet.gateway.dispatch.splitting import divided
from embedfleet.gateway.dispatch.work import Work, part_of

BLAMED = 424
RETRIED = frozenset({BLAMED, 500, 502, 503, 504})
THROTTLED = 429
TROUBLE: Final = RETRIED | {THROTTLED}
"""Statuses that may not be the client's answer."""
_LIVES: Final = frozenset({Failure.MALFORMED, Failure.BROKEN})  # what only a process that lives does

_HALVES: Final = 2


class Retries:
    """See the table in `dispatcher`. A chunk comes here when it was taken off the replica that did not do it.

    Args:
        limits: of the dispatcher.
        roster: of the replicas.
        work: where a chunk waits again.
        quarantine: where it goes if a replica died with it.
    """

    def __init__(self, limits: DispatchLimits, roster: Roster, work: Work, quarantine: Quarantine) -> None:
        self._limits = limits
        self._roster = roster
        self._work = work
        self._quarantine = quarantine

    def answered(self, chunk: Chunk, replica: Replica, status: int, now: float) -> list[Command]:
        """A replica answered one of `TROUBLE`."""
        if status == THROTTLED:
            return self._throttled(chunk, replica, now)
        chunk.tried |= {replica.id}
        chunk.unanswered_by |= {replica.id}
        self._roster.failed(replica, f"answered {status}", now)
        if chunk.replica is not None or chunk.request.over:  # a copy of it is still at another, or nobody waits for it
            return []
        has_untried = self._roster.has_untried(chunk)
        is_blamed = status == BLAMED and (chunk.blamed or not has_untried)
        if is_blamed and chunk.texts > 1 and self._halve(chunk):
            return []
        chunk.blamed = chunk.blamed or status == BLAMED
        if not is_blamed and chunk.sends < self._limits.sends and has_untried and self._may_repeat(chunk):
            self._work.wait_again(chunk)
            return []
        return [*self._work.abandon(chunk.request, now), Relay(chunk)]

    def failed(self, chunk: Chunk, replica: Replica, failure: Failure, now: float) -> list[Command]:
        """A replica gave no answer, or none that can be used."""
        if chunk.is_accused:
            self._quarantine.ended(replica)
        if failure is Failure.STARVED:
            return self._starved(chunk, replica, now)
        chunk.tried |= {replica.id}
        if failure in _LIVES:
            self._unanswered(chunk, replica, failure, now)
        else:
            self._roster.eject(replica, failure.value.replace("_", " "))
            self._quarantine.lost(replica, now)
        if failure is Failure.RESET or (failure is Failure.TIMED_OUT and chunk.is_accused):
            return self._quarantine.died(chunk, replica, now)
        if failure is Failure.REFUSED:
            chunk.sends -= 1
        if chunk.replica is not None or chunk.request.over:
            return []
        if chunk.sends >= self._limits.sends:
            if failure in _LIVES and self._is_at_fault(chunk):
                self._work.verdicts.give_up(chunk.fingerprints, now)
            error: ServingError = BadGateway(f"{chunk.sends} replicas failed this request, the last: {failure.value}")
            return [*self._work.abandon(chunk.request, now), Refuse(chunk.request, error, "sends")]
        if failure is not Failure.REFUSED and not self._may_repeat(chunk):
            error = Unhealthy(f"a replica failed this request ({failure.value}), as too many did of late")
            return [*self._work.abandon(chunk.request, now), Refuse(chunk.request, error, "retry-budget")]
        self._work.wait_again(chunk)
        return []

    def answered_well(self, chunk: Chunk) -> None:
        """A replica answered what others could not: the fault was theirs, and not the chunk's."""
        for name in chunk.unanswered_by:
            replica = self._roster.replicas.get(name)
            if replica is not None:
                self._roster.outdone(replica)

    def _unanswered(self, chunk: Chunk, replica: Replica, failure: Failure, now: float) -> None:
        """A replica lives and gave nothing that can be used. Whose fault that is, a probe and other replicas tell."""
        chunk.unanswered_by |= {replica.id}
        replica.failures = max(replica.failures + 1, self._limits.failures)  # one counts as so many errors by status
        self._roster.doubt(replica, failure.value, now)
        if chunk.is_accused:
            self._quarantine.answered(chunk)

    def _is_at_fault(self, chunk: Chunk) -> bool:
        """Whether a chunk that no replica answered is to blame, and not one replica that had it each time."""
        return len(chunk.unanswered_by) > 1 or len(self._roster.replicas) == 1

    def _throttled(self, chunk: Chunk, replica: Replica, now: float) -> list[Command]:
        """429: too much at once, or, of a replica that had nothing else, too much at all."""
        chunk.sends -= 1
        if chunk.replica is not None or chunk.request.over:
            return []
        if not replica.chunks:
            chunk.too_much_for |= {replica.id}
            active = self._roster.active
            if active and all(other.id in chunk.too_much_for for other in active):
                return [*self._work.abandon(chunk.request, now), Relay(chunk)]
        replica.full_until = now + self._limits.full_s
        replica.slow_down()
        replica.widen(now, self._limits.slow_start_s)
        self._work.wait_again(chunk)
        return []

    def _starved(self, chunk: Chunk, replica: Replica, now: float) -> list[Command]:
        """It was never sent: again as soon as the replica has answered anything, for then there is a connection."""
        chunk.sends -= 1
        if chunk.starved_at is None:
            chunk.starved_at = now
        if chunk.replica is not None or chunk.request.over:
            return []
        if now - chunk.starved_at > self._limits.no_replica_s:
            error = Unhealthy("the gateway has no files, memory or ports left for connections to replicas")
            return [*self._work.abandon(chunk.request, now), Refuse(chunk.request, error, "starved")]
        replica.full_until = now + self._limits.full_s
        self._work.wait_again(chunk)
        return []

    def _halve(self, chunk: Chunk) -> bool:
        """Two replicas could not compute a chunk of several texts: ask for its halves, to find the one text."""
        request = chunk.request
        if request.batch is None:
            narrowest = self._roster.narrowest
            request.batch = divided(request, narrowest, by_length=False) if self._limits.split else None
            if request.batch is None:
                return False
            request.batch.taken, request.batch.waiting_tokens = len(request.batch.order), 0
        batch = request.batch
        items = chunk.items if isinstance(chunk, Part) else batch.order
        if batch.spare_parts < _HALVES or not self._may_repeat(chunk):
            return False
        batch.spare_parts -= _HALVES
        if isinstance(chunk, Part):
            del batch.parts[chunk]
        middle = len(items) // 2
        for half in (items[:middle], items[middle:]):
            part = part_of(request, batch, half, sum(batch.costs[item] for item in half))
            part.blamed = part.was_sent = True
            self._work.wait_again(part)
        return True

    def _may_repeat(self, chunk: Chunk) -> bool:
        return self._work.retries.spend(chunk.tokens, self._work.sent_tokens)
