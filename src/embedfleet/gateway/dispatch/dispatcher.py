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
424, 5xx, three in a row         it has to infer before it gets anything new; ejected if another answers what it did not
other 4xx, sixteen in a row      it has to infer, and serves meanwhile
refused                          ejected; sent elsewhere, and it does not count as a send
malformed, broken                it has to infer before it gets anything new; sent elsewhere; if another answers that,
                                 it is ejected; 502 when the sends are used up, and for a while afterwards at once
timed out                        ejected; sent elsewhere; 502 when the sends are used up
reset: all connections ended     ejected; the chunk may have killed it, and is tried again alone (`quarantine`)
starved: it was not asked, for   its state stays; the chunk waits until the replica answers something or a moment
want of files or ports of ours   passes, and that does not count as a send; 503 when it has waited for too long
silent                           suspect: nothing new, and what it has is sent to another as well; the first answer
                                 counts, the other connection is closed; what two are silent over is tried alone
===============================  =====================================================================

All of TEI's calls are idempotent, so each may be sent again, within a budget.

Who does what: `roster` knows the replicas, `work` the requests and where their chunks are, `admission` bounds what
waits; `placement` and `bulk` send, `retries`, `hedges` and `quarantine` send again.
"""

from collections.abc import Collection, Mapping, Sequence
from math import inf
from typing import Final

from embedfleet.gateway.dispatch.admission import Admission
from embedfleet.gateway.dispatch.bulk import BulkSender
from embedfleet.gateway.dispatch.command import Command, Failure, Join, Refuse, Relay, Send, Separate
from embedfleet.gateway.dispatch.deadlines import give_up
from embedfleet.gateway.dispatch.estimate import DrainRate, TokenEstimate
from embedfleet.gateway.dispatch.hedges import hedge, is_lost, lose
from embedfleet.gateway.dispatch.limits import DispatchLimits
from embedfleet.gateway.dispatch.pace import Cost
from embedfleet.gateway.dispatch.placement import place_online
from embedfleet.gateway.dispatch.pool import CLOSED, Roster
from embedfleet.gateway.dispatch.quarantine import Quarantine
from embedfleet.gateway.dispatch.replica import Abilities, Replica, State
from embedfleet.gateway.dispatch.request import Chunk, Part, Request
from embedfleet.gateway.dispatch.retries import THROTTLED, TROUBLE, Retries
from embedfleet.gateway.dispatch.splitting import SCATTER_TOKENS, divided
from embedfleet.gateway.dispatch.verdicts import Verdict, Verdicts
from embedfleet.gateway.dispatch.work import Work, cut_at_once

__all__ = ["THROTTLED", "TICK_S", "TROUBLE", "Dispatcher"]

TICK_S = 0.1
"""`Dispatcher.tick` is to be called so often, and at `Dispatcher.due`."""

_ACTIVE: Final = State.ACTIVE  # a member of an enum costs more to look up than a name
_REFUSED: Final = 400  # from this status on nothing was computed
_ONLINE_SEEN_S = 1.0  # online work counts as present for so long after the last


class Dispatcher:
    """See the module. It owns the replicas, the queues, the budgets and what has been learnt.

    Attributes:
        due: when `tick` is wanted next, if that is before the regular one; infinite if not.
    """

    def __init__(self, limits: DispatchLimits | None = None) -> None:
        self.limits = limits or DispatchLimits()
        self._roster = Roster(self.limits)
        self.estimate = TokenEstimate()
        self.rate = DrainRate()
        self._admission = Admission(self.limits, self.rate)
        self.due = inf
        self._verdicts = Verdicts(self.limits.quarantine_s)
        self._work = Work(self._roster, self._verdicts, prefer_online=self.limits.prefer_online)
        self.quarantine = Quarantine(self._roster, self._work)
        self._bulk = BulkSender(self.limits, self._roster, self._work, self.quarantine)
        self._retries = Retries(self.limits, self._roster, self._work, self.quarantine)
        self._online_at = -inf
        self._ticked_at = 0.0

    def __repr__(self) -> str:
        """As an operator reads it."""
        return (
            f"<Dispatcher online={len(self._work.online)} bulk={self._work.bulk.tokens} {list(self.replicas.values())}>"
        )

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
        work = self._work
        return len(work.online) + len(work.bulk.requests) + len(work.bulk.returned) + len(work.accused)

    @property
    def queued_tokens(self) -> int:
        """Estimated tokens that wait."""
        return self._work.online.tokens + self._work.bulk.tokens + self._work.accused.tokens

    @property
    def queued_bytes(self) -> int:
        """Of the bodies of requests that wait or are cut."""
        return self._work.queued_bytes

    @property
    def accused(self) -> Collection[Chunk]:
        """Chunks that wait to be tried alone."""
        return list(self._work.accused)

    @property
    def remembered(self) -> int:
        """Fingerprints of texts that a replica died with."""
        return len(self._verdicts.known)

    @property
    def under_way(self) -> int:
        """How many requests are not over."""
        return len(self._work.open)

    @property
    def repeated_tokens(self) -> int:
        """Estimated tokens sent again, or to two replicas."""
        return self._work.retries.spent + self._work.hedges.spent + self.quarantine.repeated_tokens

    # requests

    def assign(self, request: Request, now: float) -> Replica | None:
        """A client asks: the replica to send the whole request to at once. None if there is none: call `arrived`."""
        self._work.open[request] = None
        request.online = request.online or not self.limits.prefer_online
        if not request.online:
            return None
        self._online_at = now
        roster = self._roster
        if self._work.online or request.texts > roster.batch_texts or request.tokens > SCATTER_TOKENS:
            return None
        if request.size_bytes > roster.body_bytes:
            return None
        if self._verdicts.known and self._verdicts.of(request.fingerprints, now):
            return None
        replica = place_online(roster.serving, request, now)
        if replica is not None:
            self._work.send(request, replica, now)
        return replica

    def arrived(self, request: Request, now: float) -> list[Command]:
        """Take a request that could not be assigned."""
        verdict = self._verdicts.of(request.fingerprints, now) if self._verdicts.known else Verdict.NONE
        if verdict > Verdict.ACCUSED or (verdict and request.is_shared):
            return self.quarantine.turn_away(request, now)
        refusal = self._refusal(request, now)
        if refusal is not None:
            self._work.finish(request)
            return [refusal]
        self._work.hold(request)
        if verdict is Verdict.ACCUSED:
            for chunk in self.quarantine.cut(request, self.limits, now):
                if not self.quarantine.holds(chunk, now):
                    self._work.wait_again(chunk)
        elif request.online:
            for chunk in cut_at_once(request, self._roster, self.limits):
                self._work.online.push(chunk)
        else:
            if self.limits.split and request.texts > 1:
                request.batch = divided(request, self._roster.narrowest, by_length=self.limits.sort_by_length)
            self._work.bulk.push(request)
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
        sent_at = self._work.drop(chunk, replica, now)
        replica.heard_at = now
        replica.full_until = 0.0
        if chunk.is_accused:
            self.quarantine.ended(replica)
            if status != THROTTLED:
                self.quarantine.answered(chunk)
            if request.over and status not in TROUBLE:  # its client has left during the trial
                self._roster.heard(replica)
                replica.failures = 0
                commands = self._call_off(chunk, now)
                return [*commands, *self._dispatch(now), *self._roster.emptied(replica)]
        if status in TROUBLE:
            self._roster.heard(replica)
            commands = [*self._retries.answered(chunk, replica, status, now), *self._call_off(chunk, now)]
        else:
            if request.is_work:
                if status < _REFUSED:
                    self._learn(chunk, replica, sent_at, now, tokens)
                else:
                    replica.refusals += 1
            if chunk is request and chunk.replica is None and replica.state is _ACTIVE and not replica.is_isolated:
                self._work.finish(request)
                if not self._work.online and not self._work.bulk:
                    return None
                return [Relay(request), *self._dispatch(now)]
            self._roster.heard(replica)
            commands = self._answered_well(chunk, status, now)
        return [*commands, *self._dispatch(now), *self._roster.emptied(replica)]

    def failed(self, chunk: Chunk, replica: Replica, failure: Failure, now: float) -> list[Command]:
        """A replica gave no answer, or none that can be used."""
        if failure is Failure.TIMED_OUT and chunk in replica.lost:
            failure = Failure.BROKEN  # it answered others meanwhile
        self._work.drop(chunk, replica, now)
        commands = [*self._retries.failed(chunk, replica, failure, now), *self._call_off(chunk, now)]
        return [*commands, *self._dispatch(now), *self._roster.emptied(replica)]

    def left(self, request: Request, now: float) -> list[Command]:
        """The client is gone. Of a request that is over, nothing."""
        if request.over:
            return []
        commands = self._work.abandon(request, now)
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
        commands: list[Command] = []
        if reason:
            self.quarantine.lost(replica, now)
            commands = self.quarantine.hung(replica, now)
        self._roster.probed(replica, reason, now, abilities, cost)
        return [*commands, *self._dispatch(now), *self._roster.emptied(replica)]

    def unprobed(self, name: str, now: float) -> list[Command]:
        """A probe could not be made, for a want of our own: the replica stays as it is, and is probed later."""
        replica = self.replicas.get(name)
        if replica is None:
            return []
        self._roster.unprobed(replica, now)
        return self._roster.emptied(replica)

    def distrust(self, name: str, reason: str) -> None:
        """A replica has to prove itself again, for a reason that the caller knows."""
        self._roster.eject(self.replicas[name], reason)

    def doubt(self, name: str, now: float) -> list[Command]:
        """A replica may be another process, for what connected us to it was closed."""
        replica = self.replicas.get(name)
        if replica is None:
            return []
        self.quarantine.lost(replica, now)
        self._roster.doubt(replica, CLOSED, now)
        return self.tick(now)

    def change_model(self, reasons: Mapping[str, str], now: float) -> list[Command]:
        """The pool has another model from now on: nothing that the former one computes is answered any more.

        Args:
            reasons: why each replica that served it does not any longer.
            now: in seconds.
        """
        for name, reason in reasons.items():
            self._roster.eject(self.replicas[name], reason)
        commands = self._work.start_over(now)
        self.quarantine.release()
        return [*commands, *self.tick(now)]

    def tick(self, now: float) -> list[Command]:
        """To be called every `TICK_S` and when `due` is reached: waits end, probes fall due, silence is noticed."""
        commands: list[Command] = []
        if now - self._ticked_at >= TICK_S / 2:
            commands += self._pass_time(now)
        return [*commands, *self._dispatch(now), *self._roster.probes(now)]

    def asks_again(self, chunk: Chunk, replica: Replica, idle_since: float, now: float) -> bool:
        """Whether to ask a replica again on a new connection, see `hedges.is_lost`: what no other replica is asked."""
        if not self.limits.hedge or chunk.copy is not None or chunk.is_accused:
            return False
        if not is_lost(chunk, replica, self.limits, idle_since=idle_since, now=now):
            return False
        return self._work.hedges.spend(chunk.tokens, self._work.sent_tokens)

    def stood_still(self, seconds: float) -> None:
        """Nothing was read for so long: that time counts for no replica's silence and no replica's speed."""
        self._roster.stood_still(seconds)
        self.rate.stood_still(seconds)

    # admission

    def _refusal(self, request: Request, now: float) -> Refuse | Separate | None:
        return self._admission.refusal(
            request,
            waiting=self._work.online.tokens if request.online else self._work.bulk.tokens,
            queued_bytes=self._work.queued_bytes,
            tokens_per_s=self._roster.tokens_per_s,
            now=now,
        )

    # sending

    def _dispatch(self, now: float) -> list[Command]:
        """Send what may be sent: online first, and bulk only while no online work waits."""
        commands: list[Command] = []
        online = self._work.online
        if self._work.accused or self.quarantine.cell is not None:
            commands += self.quarantine.dispatch(now)
        while (chunk := online.head) is not None:
            if self._verdicts.known and self._verdicts.of(chunk.fingerprints, now):
                commands += self.quarantine.withdraw(chunk, now)
                continue
            replica = place_online(self._roster.serving, chunk, now)
            if replica is None:
                break
            online.remove(chunk)
            self._work.send(chunk, replica, now)
            commands.append(Send(chunk, replica))
        self.due = inf
        if self._work.bulk and not online:
            commands += self._bulk.dispatch(now, is_online=now - self._online_at < _ONLINE_SEEN_S)
            self.due = self._bulk.due
        return commands

    # answers

    def _learn(self, chunk: Chunk, replica: Replica, sent_at: float, now: float, tokens: int | None) -> None:
        """Learn from work that was done."""
        replica.failures = replica.refusals = 0
        if chunk.unanswered_by:
            self._retries.answered_well(chunk)
        if tokens is not None:
            self.estimate.learn(chunk.tokens, chunk.texts, tokens)
        replica.pace.answered(chunk.tokens, sent_at, now)
        self.rate.finished(chunk.tokens)

    def _answered_well(self, chunk: Chunk, status: int, now: float) -> list[Command]:
        commands = self._work.cancel(chunk, now)
        request, batch = chunk.request, chunk.request.batch
        if batch is None or not isinstance(chunk, Part):
            self._work.finish(request)
            return [*commands, Relay(chunk)]
        del batch.parts[chunk]
        if status >= _REFUSED:
            return [*commands, *self._work.abandon(request, now), Relay(chunk)]
        batch.unanswered -= chunk.texts
        if not batch.unanswered:
            self._work.finish(request)
            commands.append(Join(request))
        return commands

    def _call_off(self, chunk: Chunk, now: float) -> list[Command]:
        """Of a request that is over, what was left where it was for its trial: acquitted, nobody wants it."""
        return self._work.cancel(chunk, now) if chunk.request.over and not chunk.is_accused else []

    # time

    def _pass_time(self, now: float) -> list[Command]:
        """What changes with time alone."""
        self._roster.refresh(now, min(now - self._ticked_at, 1.0))
        self._ticked_at = now
        self.rate.measure(now, busy=any(replica.chunks for replica in self.replicas.values()))
        commands = give_up(self.limits, self._roster, self._work, now)
        if not self._work.accused and self.quarantine.cell is None:  # else a verdict could lapse before its trial
            self._verdicts.expire(now)
        self._roster.suspect(now)
        lose(self._roster, now)
        if self.limits.hedge:
            commands += hedge(self.limits, self._roster, self._work, self.quarantine, now)
        return [*commands, *self._bulk.feed(now)]
