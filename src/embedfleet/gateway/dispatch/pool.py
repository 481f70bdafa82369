"""Who is in the pool, and in what state: membership, probes, suspicion, ejection, drain."""

from collections.abc import Collection, Sequence
from math import inf

from embedfleet.gateway.dispatch.command import Command, Forget, Probe
from embedfleet.gateway.dispatch.limits import DispatchLimits
from embedfleet.gateway.dispatch.pace import Cost
from embedfleet.gateway.dispatch.replica import Abilities, Event, Replica, State
from embedfleet.gateway.dispatch.request import Chunk
from embedfleet.gateway.dispatch.suspicion import overdue

_ACTIVE = State.ACTIVE  # a member of an enum costs more to look up than a name
_KEPT_OUT = frozenset({State.DRAINING, State.DRAINED})
_GOOD_PROBES = 2  # until an ejected replica is trusted again
_REFUSALS = 16  # of requests in a row, until it is asked what it cannot refuse
CLOSED = "closed its connections, and may be another process"
_SILENT = "silent for longer than it should need"


class Roster:
    """The replicas of one service.

    Attributes:
        replicas: by name.
        serving: those that may get work: active, and not kept free for trials.
        batch_texts: the most texts that every one of them takes at once.
        body_bytes: the largest body that every one of them takes.
        tokens_per_s: that they do together; while none serves, that all could.
        unserved_since: when it was noticed that none serves; infinite while one does.
    """

    def __init__(self, limits: DispatchLimits) -> None:
        self.replicas: dict[str, Replica] = {}
        self.serving: tuple[Replica, ...] = ()
        self.batch_texts, self.body_bytes = Abilities().batch_texts, Abilities().body_bytes
        self.tokens_per_s = 0.0
        self.unserved_since = inf
        self._limits = limits

    def silent(self, now: float) -> list[Replica]:
        """Those that keep somebody waiting for longer than they should need, whatever their state."""
        return [
            replica
            for replica in self.replicas.values()
            if replica.chunks and (replica.state is State.SUSPECT or replica.is_overdue(now))
        ]

    @property
    def active(self) -> list[Replica]:
        """Those that serve, and those that are kept free for trials."""
        return [replica for replica in self.replicas.values() if replica.state is _ACTIVE]

    @property
    def narrowest(self) -> Abilities:
        """Of the serving replica that takes the fewest texts; while none serves, of those that may serve again."""
        return min(
            (replica.abilities for replica in self._expected), key=lambda able: able.batch_texts, default=Abilities()
        )

    @property
    def _expected(self) -> Collection[Replica]:
        """Who will do what comes now: those that serve, or, while none does, all that may serve again."""
        return self.serving or self.replicas.values()

    def has_untried(self, chunk: Chunk) -> bool:
        """Whether one serves that has not failed the chunk: those that did get it again only if none does.

        While none serves, whether one may serve again: nobody who is out at the moment has said anything.
        """
        return any(replica.id not in chunk.tried and replica.state not in _KEPT_OUT for replica in self._expected)

    # membership

    def set_members(self, names: Sequence[str], now: float) -> list[Command]:
        """These are the replicas from now on: new ones join, missing ones drain and go."""
        for name in names:
            known = self.replicas.get(name)
            if known is None:
                known = self.replicas[name] = Replica(name)
                self._restart(known, now)
            elif known.is_leaving:
                known.is_leaving = False
                self._restart(known, now)
        commands: list[Command] = []
        for replica in [replica for name, replica in self.replicas.items() if name not in names]:
            replica.is_leaving = True
            replica.move(Event.DRAIN)
            commands += self.emptied(replica)
        self._count()
        return commands

    def drain(self, name: str) -> list[Command]:
        """Keep a replica out until `undrain`; what it has it finishes."""
        replica = self.replicas[name]
        if replica.move(Event.DRAIN):
            replica.reason = "drained by hand"
        self._count()
        return self.emptied(replica)

    def undrain(self, name: str, now: float) -> None:
        """A replica that was kept out is wanted back; others go on as they are."""
        replica = self.replicas[name]
        if replica.state in {State.DRAINING, State.DRAINED} and not replica.is_leaving:
            self._restart(replica, now)

    def emptied(self, replica: Replica) -> list[Command]:
        """A draining replica that has nothing left is drained, and goes if it is to."""
        if replica.chunks or replica.probing:
            return []
        replica.move(Event.EMPTY)
        if replica.state is not State.DRAINED or not replica.is_leaving or replica.id not in self.replicas:
            return []
        del self.replicas[replica.id]
        return [Forget(replica)]

    # health

    def heard(self, replica: Replica) -> None:
        """Anything came from a replica: it is not hung."""
        if replica.state is State.SUSPECT:
            replica.move(Event.GOOD)
            replica.reason = ""
            self._count()

    def failed(self, replica: Replica, what: str, now: float) -> None:
        """A replica's answer was a failure, by a status: after so many in a row it has to infer."""
        replica.failures += 1
        if replica.failures % self._limits.failures == 0:
            self.doubt(replica, f"{what}, {replica.failures} failures in a row", now)

    def outdone(self, replica: Replica) -> None:
        """Another replica answered what this one could not, so the fault is its own: after so many in a row it is out.

        It has proved by a probe that it infers, or is about to: what it fails at is something else. One that is out
        already is proving itself anew, and news of what it was asked before changes nothing of that.
        """
        if replica.state is not State.EJECTED and replica.failures >= self._limits.failures:
            self.eject(replica, f"failed {replica.failures} times in a row at what others answered")

    def eject(self, replica: Replica, reason: str) -> None:
        """Nothing is sent to it before it has inferred again."""
        replica.move(Event.BAD)
        replica.failures = replica.good_probes = 0
        replica.reason = reason
        self._count()

    def doubt(self, replica: Replica, reason: str, now: float) -> None:
        """It has to infer at once, and if it does it goes on as it was."""
        if replica.move(Event.DOUBT):
            replica.next_probe = now
            replica.reason = reason
            self._count()

    def suspect(self, now: float) -> None:
        """Notice who is silent."""
        for replica in overdue(self.replicas.values(), now):
            replica.move(Event.SLOW)
            replica.reason = _SILENT
        self._count()

    def probes(self, now: float) -> list[Command]:
        """Those that fall due: of replicas that do not serve, and of those that were not heard of for some time."""
        due = [replica for replica in self.replicas.values() if self._is_probe_due(replica, now)]
        for replica in due:
            replica.probing = True
        return [Probe(replica) for replica in due]

    def probed(self, replica: Replica, reason: str, now: float, abilities: Abilities | None, cost: Cost | None) -> None:
        """A probe came back, see `Dispatcher.probed`."""
        replica.probing = False
        if abilities is not None:
            replica.set_abilities(abilities)
        if cost is not None and cost != replica.pace.cost:  # what was learnt since it was measured is kept
            replica.pace.set_cost(cost)
        if reason:
            replica.next_probe = now + replica.probe_delay_s
            replica.probe_delay_s = min(replica.probe_delay_s * 2, self._limits.probe_retry_s[1])
            self.eject(replica, reason)
        else:
            self._probed_well(replica, now)
        self._count()

    def unprobed(self, replica: Replica, now: float) -> None:
        """A probe could not be made, which says nothing of the replica: it falls due again."""
        replica.probing = False
        replica.next_probe = now + self._limits.probe_retry_s[0]

    def isolate(self, replica: Replica, *, isolated: bool) -> None:
        """Keep a replica free of all but trials, or no longer."""
        replica.is_isolated = isolated
        self._count()

    def refresh(self, now: float, elapsed_s: float) -> None:
        """What changes with time alone: windows."""
        for replica in self.replicas.values():
            replica.recover(elapsed_s)
            replica.widen(now, self._limits.slow_start_s)
        self._count()
        if not self.serving:
            self.unserved_since = min(self.unserved_since, now)

    def stood_still(self, seconds: float) -> None:
        """Nothing was heard for so long, for nobody listened."""
        self.unserved_since += seconds
        held = {chunk for replica in self.replicas.values() for chunk in replica.chunks}
        for chunk in held:
            chunk.sent_at += seconds
            chunk.due_at += seconds
        for replica in self.replicas.values():
            replica.heard_at += seconds
            replica.free_at += seconds
            replica.chunks = {chunk: sent_at + seconds for chunk, sent_at in replica.chunks.items()}

    def _restart(self, replica: Replica, now: float) -> None:
        """A replica is told of, or wanted back: it has to infer first."""
        replica.move(Event.JOIN)
        replica.reason = ""
        replica.next_probe, replica.probe_delay_s = now, self._limits.probe_retry_s[0]

    def _probed_well(self, replica: Replica, now: float) -> None:
        replica.heard_at = now
        replica.refusals = 0
        replica.good_probes += 1
        replica.probe_delay_s = self._limits.probe_retry_s[0]
        replica.next_probe = now + replica.probe_delay_s
        if replica.state is State.EJECTED and replica.good_probes < _GOOD_PROBES:
            return
        served = replica.state in {State.SUSPECT, State.DOUBTED}
        if not served:
            replica.failures = 0
        if replica.move(Event.GOOD):
            replica.reason = ""
            if not served:
                replica.since = now
        replica.widen(now, self._limits.slow_start_s)

    def _is_probe_due(self, replica: Replica, now: float) -> bool:
        if replica.probing or replica.state in {State.DRAINING, State.DRAINED}:
            return False
        if replica.state is _ACTIVE:
            is_unproven = replica.refusals >= _REFUSALS or now - replica.heard_at > self._limits.probe_interval_s
            return is_unproven and now >= replica.next_probe
        return now >= replica.next_probe

    def _count(self) -> None:
        """Who serves, and what they can do together."""
        self.serving = tuple(
            replica for replica in self.replicas.values() if replica.state is _ACTIVE and not replica.is_isolated
        )
        if self.active:
            self.unserved_since = inf
        narrowest = self.narrowest
        self.batch_texts, self.body_bytes = narrowest.batch_texts, narrowest.body_bytes
        self.tokens_per_s = sum(replica.tokens_per_s for replica in self._expected)
