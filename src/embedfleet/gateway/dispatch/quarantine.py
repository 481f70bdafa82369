"""Requests that a replica died with are tried again alone, so that one that kills can take nobody with it.

A replica that dies has been killed from outside, or by one of the requests that it had: an input on which the server's
code panics, one that is too large for its memory. So each of them is accused. An accused request waits until one
replica has been emptied for it, and goes there with nothing beside it. If that replica answers, the request is
acquitted; if it dies too, the request is guilty: it is refused, and so is its like for some minutes. One trial is held
at a time, and none on the last replica that serves while others are down.
"""

from collections.abc import Sequence

from embedfleet.errors import QueryOfDeath, Unanswerable
from embedfleet.gateway.dispatch.command import Command, Refuse, Send, Separate
from embedfleet.gateway.dispatch.limits import DispatchLimits
from embedfleet.gateway.dispatch.pool import Roster
from embedfleet.gateway.dispatch.replica import Replica, State
from embedfleet.gateway.dispatch.request import Chunk, Request
from embedfleet.gateway.dispatch.splitting import divided, scatter
from embedfleet.gateway.dispatch.verdicts import UNANSWERABLE_S, Verdict
from embedfleet.gateway.dispatch.work import Work, part_of

REASON = "quarantine"
_UNANSWERABLE = "unanswerable"
_AWAY = frozenset({State.DRAINING, State.DRAINED})  # by an operator's word: not down, and not coming back by itself
# A client that has just left may have asked what kills: a replica that dies so soon after it accuses its request too.
_LEFT_S = 60.0


class Quarantine:
    """Accused requests, and the replica that is kept free for their trials.

    Args:
        roster: of the replicas.
        work: where the accused wait, and what is known of texts.

    Attributes:
        cell: the replica that is kept free, or is being emptied; None while nobody is accused.
        acquitted: trials that ended with an answer, since the start.
        convicted: trials that ended with a death.
        repeated_tokens: of trials of what had been sent before.
    """

    def __init__(self, roster: Roster, work: Work) -> None:
        self.cell: Replica | None = None
        self.acquitted = self.convicted = self.repeated_tokens = 0
        self._roster = roster
        self._work = work
        self._verdicts = work.verdicts

    # what comes in

    def turn_away(self, request: Request, now: float) -> list[Command]:
        """Refuse what nobody is asked again; of a shared request let each client's go on its own, and be judged so."""
        if request.is_shared:
            return [*self._work.abandon(request, now), Separate(request)]
        return self._refused(request, self._verdicts.of(request.fingerprints, now), now)

    def cut(self, request: Request, limits: DispatchLimits, now: float) -> Sequence[Chunk]:
        """A request with accused texts in chunks: each accused text for itself, so that it is known which one kills."""
        narrowest = self._roster.narrowest
        batch = divided(request, narrowest, by_length=False) if limits.split and request.texts > 1 else None
        if batch is None:
            return [request]
        known = [self._verdicts.of([one], now) for one in request.fingerprints]
        request.batch = batch
        accused = [item for item in batch.order if known[item]]
        batch.order = [item for item in batch.order if not known[item]]
        batch.waiting_tokens -= sum(batch.costs[item] for item in accused)
        parts = [part_of(request, batch, [item], batch.costs[item]) for item in accused]
        if batch.order:
            others = scatter(batch, max(1, len(self._roster.serving)), narrowest)
            parts += [part_of(request, batch, items, tokens) for items, tokens in others]
        return parts

    def holds(self, chunk: Chunk, now: float) -> bool:
        """Let a chunk that is about to be sent wait for its trial, if anything is known of its texts."""
        if not self._verdicts.known or chunk.request.is_shared or not self._verdicts.of(chunk.fingerprints, now):
            return False
        chunk.is_accused = True
        chunk.tried |= self._verdicts.died_with(chunk.fingerprints)
        self._work.wait_again(chunk)
        return True

    def withdraw(self, chunk: Chunk, now: float) -> list[Command]:
        """Do not send an online chunk that waits to be sent: since it came a replica has died with the like of it."""
        if chunk.request.is_shared:
            return self.turn_away(chunk.request, now)
        self._work.online.remove(chunk)
        self.holds(chunk, now)
        return []

    # what replicas do

    def died(self, chunk: Chunk, replica: Replica, now: float) -> list[Command]:
        """A replica gave a chunk no answer, and may have died of it.

        Args:
            chunk: taken off the replica.
            replica: which.
            now: in seconds.
        """
        self._verdicts.accuse(chunk.fingerprints, replica.id, now)
        if chunk.is_on_trial:
            return self._convict(chunk, replica, now)
        if chunk.request.is_shared:
            return [*self._work.abandon(chunk.request, now), Separate(chunk.request)]
        chunk.is_accused = True
        if chunk.replica is None and not chunk.request.over:  # else another has it already, whose answer acquits it
            self._work.wait_again(chunk)
        return []

    def call_back(self, chunk: Chunk, replica: Replica, now: float) -> list[Command]:
        """Take a chunk off all that have it and say nothing, maybe because of it, and try it at another.

        Args:
            chunk: which.
            replica: one of them.
            now: in seconds.
        """
        return [*self._work.cancel(chunk, now), *self.died(chunk, replica, now)]

    def lost(self, replica: Replica, now: float) -> None:
        """A replica broke off or is gone: whose clients left it just before are accused as well."""
        for fingerprints, left_at in replica.left:
            if now - left_at < _LEFT_S:
                self._verdicts.accuse(fingerprints, replica.id, now)
        replica.left.clear()

    def hung(self, replica: Replica, now: float) -> list[Command]:
        """A replica does not infer: what it is late with may be why. Of that the first answer acquits, as ever."""
        commands: list[Command] = []
        for chunk in [chunk for chunk in replica.chunks if replica.is_late_with(chunk, now)]:
            if not chunk.request.is_shared:
                chunk.is_accused = True
                self._verdicts.accuse(chunk.fingerprints, replica.id, now)
            elif chunk.copy is None:  # else the other's answer is waited for, by all who share it
                commands += self.call_back(chunk, replica, now)
        return commands

    def ended(self, replica: Replica) -> None:
        """An accused chunk is no longer at a replica: a former cell that was silent over it serves again."""
        if replica is not self.cell and replica.is_isolated:
            self._roster.isolate(replica, isolated=False)

    def release(self) -> None:
        """Trials were called off: former cells are kept free no longer."""
        for replica in self._roster.replicas.values():
            if not _is_trying(replica):
                self.ended(replica)

    def answered(self, chunk: Chunk) -> None:
        """A replica had an accused chunk, whatever came of it, and lives."""
        self.acquitted += chunk.is_on_trial
        chunk.is_accused = chunk.is_on_trial = False
        self._verdicts.acquit(chunk.fingerprints)

    # trials

    def dispatch(self, now: float) -> list[Command]:
        """Hold the next trial, if there is one to hold and a replica to hold it at."""
        commands = self._settle(now)
        chunk = self._next()
        if chunk is None and self._work.accused:  # its like is on trial at a replica that says nothing
            return commands
        if chunk is None:
            if self.cell is not None and not _is_trying(self.cell):
                self._leave()
            return commands
        self._choose(chunk, now)
        cell = self.cell
        if cell is None or cell.chunks or cell.full_until > now:
            return commands
        self._work.accused.remove(chunk)
        chunk.is_on_trial = True
        self.repeated_tokens += chunk.tokens if chunk.sends else 0
        self._work.send(chunk, cell, now)
        return [*commands, Send(chunk, cell)]

    def _next(self) -> Chunk | None:
        """The first of which no text is on trial already."""
        tried = {
            one
            for replica in self._roster.replicas.values()
            if replica.is_isolated
            for chunk in replica.chunks
            if chunk.is_on_trial
            for one in chunk.fingerprints
        }
        return next((chunk for chunk in self._work.accused if tried.isdisjoint(chunk.fingerprints)), None)

    def _settle(self, now: float) -> list[Command]:
        """Those next in turn that another's trial has decided: equal ones are as guilty, or as innocent."""
        commands: list[Command] = []
        while (chunk := self._work.accused.head) is not None:
            verdict = self._verdicts.of(chunk.fingerprints, now)
            if verdict is Verdict.ACCUSED:
                break
            self._work.accused.remove(chunk)
            chunk.is_accused = False
            if verdict is Verdict.NONE:
                self._work.wait_again(chunk)
            else:
                commands += self._refused(chunk.request, verdict, now)
        return commands

    def _choose(self, chunk: Chunk, now: float) -> None:
        """See that the cell is a replica that may be risked, and has not failed the chunk if another has not."""
        cell = self.cell
        if cell is not None:
            if cell.state is State.ACTIVE and (cell.chunks or self._suits(cell, chunk)):
                return
            self._leave()
        serving = [one for one in self._roster.serving if self._may_be_risked(one)]
        self.cell = min(serving, key=lambda one: (one.id in chunk.tried, bool(one.lost), one.eta(now)), default=None)
        if self.cell is not None:
            self._roster.isolate(self.cell, isolated=True)

    def _suits(self, cell: Replica, chunk: Chunk) -> bool:
        return self._may_be_risked(cell) and not (cell.id in chunk.tried and self._roster.has_untried(chunk))

    def _may_be_risked(self, replica: Replica) -> bool:
        """Whether another serves, or there is no other."""
        others = [one for one in self._roster.replicas.values() if one is not replica and one.state not in _AWAY]
        return not others or any(one in self._roster.serving for one in others)

    def _leave(self) -> None:
        """The cell serves as the others do, from the end of its trial on."""
        cell, self.cell = self.cell, None
        if cell is not None and not _is_trying(cell):
            self._roster.isolate(cell, isolated=False)

    # ends

    def _convict(self, chunk: Chunk, replica: Replica, now: float) -> list[Command]:
        self.convicted += 1
        chunk.is_accused = chunk.is_on_trial = False
        request = chunk.request
        for fingerprints in (chunk.fingerprints, request.fingerprints):
            self._verdicts.convict(fingerprints, replica.id, now)
        return [] if request.over else self._refused(request, Verdict.GUILTY, now, chunk.places)

    def _refused(self, request: Request, verdict: Verdict, now: float, places: Sequence[int] = ()) -> list[Command]:
        commands = self._work.abandon(request, now)
        if verdict is Verdict.GUILTY:
            return [*commands, Refuse(request, QueryOfDeath(places), REASON)]
        return [*commands, Refuse(request, Unanswerable(UNANSWERABLE_S), _UNANSWERABLE)]


def _is_trying(replica: Replica) -> bool:
    """Whether a trial is under way there."""
    return any(chunk.is_on_trial for chunk in replica.chunks)
