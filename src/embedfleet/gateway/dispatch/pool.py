"""The replicas of one service: membership, probes, suspicion, ejection, drain."""

from collections.abc import Collection, Sequence
from math import inf
from typing import Final

from embedfleet.gateway.dispatch.capabilities import Capabilities
from embedfleet.gateway.dispatch.commands import Command, Forget, Probe
from embedfleet.gateway.dispatch.limits import DispatchLimits
from embedfleet.gateway.dispatch.replica import Replica
from embedfleet.gateway.dispatch.replica_choice import place_online
from embedfleet.gateway.dispatch.replica_speed import BatchCost
from embedfleet.gateway.dispatch.request import Chunk
from embedfleet.gateway.dispatch.state_transitions import ReplicaEvent
from embedfleet.gateway.dispatch.suspicion import overdue
from embedfleet.types import ReplicaState

_ACTIVE = ReplicaState.ACTIVE  # a name is cheaper to look up than a member of an enum
_GOOD_PROBES = 2  # good probes in a row until an ejected replica serves again
_COMPARED: Final = 64  # least replicas that are compared for one request
_REFUSALS = 16  # refusals of requests in a row until a replica is probed; it has no reason to refuse a probe
_SILENT = "silent for longer than predicted"
CLOSED = "closed its connections, and may be another process"


class Pool:
    """The replicas of one service.

    Args:
        limits: Limits of the dispatcher.

    Attributes:
        replicas: All replicas by name.
        serving: Replicas that may get work: active, and not kept free for trials.
        batch_texts: Most texts in one request that every serving replica takes.
        body_bytes: Size of the largest body that every serving replica takes.
        batch_tokens: Tokens of one full batch at each serving replica, or at each of all if none serves.
        tokens_per_s: Combined throughput of the serving replicas, or of all if none serves.
        unserved_since: Time since which no replica has served; infinite while one serves.
    """

    def __init__(self, limits: DispatchLimits) -> None:
        self.replicas: dict[str, Replica] = {}
        self.serving: tuple[Replica, ...] = ()
        self.batch_texts, self.body_bytes = Capabilities().batch_texts, Capabilities().body_bytes
        self.batch_tokens = 0
        self.tokens_per_s = 0.0
        self.unserved_since = inf
        self._served_since = -inf  # time since which at least one replica serves
        self._limits = limits
        self._sample = 0  # number of the last sample

    def silent(self, now: float) -> list[Replica]:
        """Return the replicas, in any state, that keep a client waiting for longer than predicted."""
        return [replica for replica in self.replicas.values() if replica.is_silent(now)]

    @property
    def active(self) -> list[Replica]:
        """Active replicas: those that serve, and those that are kept free for trials."""
        return [replica for replica in self.replicas.values() if replica.state is _ACTIVE]

    @property
    def narrowest(self) -> Capabilities:
        """Capabilities of the serving replica that takes the fewest texts; if none serves, all replicas count."""
        return min(
            (replica.abilities for replica in self._expected),
            key=lambda abilities: abilities.batch_texts,
            default=Capabilities(),
        )

    @property
    def _expected(self) -> Collection[Replica]:
        """Replicas that may get new work: those that serve, or all while none serves."""
        return self.serving or self.replicas.values()

    def has_untried(self, chunk: Chunk) -> bool:
        """Return whether any serving replica has not failed the chunk yet; such replicas go first.

        While no replica serves, replicas that may serve again count, because their ejection says nothing about this
        chunk.
        """
        return any(replica.id not in chunk.tried and not replica.is_kept_out for replica in self._expected)

    # membership

    def set_members(self, names: Sequence[str], now: float) -> list[Command]:
        """Set the replicas of the service: new ones join; missing ones drain and are then removed."""
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
            replica.move(ReplicaEvent.DRAIN)
            commands += self.emptied(replica)
        self._refresh_totals()
        return commands

    def place_online(self, chunk: Chunk, now: float) -> Replica | None:
        """Choose a replica for online work: the first to finish it, in a large pool the first of a sample.

        The best of 64 finishes hardly later than the best of all, and is chosen in a fraction of the time. Samples take
        turns, and each is spread over the whole pool, because replicas of a kind often stand together. If none of the
        sample has room, all are compared.
        """
        serving = self.serving
        samples = len(serving) // _COMPARED
        if samples < 2:
            return place_online(serving, chunk, now)
        self._sample = (self._sample + 1) % samples
        found = place_online(serving[self._sample :: samples], chunk, now)
        return found if found is not None else place_online(serving, chunk, now)

    def drain(self, name: str) -> list[Command]:
        """Stop sending a replica new work until `undrain`; it finishes what it has."""
        replica = self.replicas[name]
        if replica.move(ReplicaEvent.DRAIN):
            replica.reason = "drained by hand"
        self._refresh_totals()
        return self.emptied(replica)

    def undrain(self, name: str, now: float) -> None:
        """Let a drained replica join again; a replica that is leaving, or was not drained, does not change."""
        replica = self.replicas[name]
        if replica.is_kept_out and not replica.is_leaving:
            self._restart(replica, now)

    def emptied(self, replica: Replica) -> list[Command]:
        """Mark a draining replica without work as drained; remove it if it is leaving."""
        if replica.chunks or replica.is_probing:
            return []
        replica.move(ReplicaEvent.EMPTY)
        if replica.state is not ReplicaState.DRAINED or not replica.is_leaving or replica.id not in self.replicas:
            return []
        del self.replicas[replica.id]
        return [Forget(replica)]

    # health

    def mark_alive(self, replica: Replica) -> None:
        """Record a sign of life: a suspect replica is active again."""
        if replica.state is ReplicaState.SUSPECT:
            replica.move(ReplicaEvent.GOOD)
            replica.reason = ""
            self._refresh_totals()

    def failed(self, replica: Replica, what: str, now: float) -> None:
        """Count an answer with a failing status; after several in a row, the replica must pass a probe."""
        replica.failures += 1
        if replica.failures % self._limits.failures == 0:
            self.doubt(replica, f"{what}, {replica.failures} failures in a row", now)

    def eject_failing(self, replica: Replica) -> None:
        """Eject a replica after several failures in a row, because another replica answered what this one could not.

        A probe alone does not show such a fault. A replica that is already ejected is being probed anyway, and answers
        to earlier requests do not change that.
        """
        if replica.state is not ReplicaState.EJECTED and replica.failures >= self._limits.failures:
            self.eject(replica, f"failed {replica.failures} times in a row, and others answered what it failed")

    def eject(self, replica: Replica, reason: str) -> None:
        """Send a replica nothing until it has passed probes again."""
        replica.move(ReplicaEvent.BAD)
        replica.failures = replica.good_probes = 0
        replica.reason = reason
        self._refresh_totals()

    def doubt(self, replica: Replica, reason: str, now: float) -> None:
        """Send a replica nothing until it has passed one probe, which is sent at once."""
        if replica.move(ReplicaEvent.DOUBT):
            replica.next_probe = now
            replica.reason = reason
            self._refresh_totals()

    def suspect(self, now: float) -> None:
        """Mark silent replicas as suspect."""
        for replica in overdue(self.replicas.values(), now):
            replica.move(ReplicaEvent.SLOW)
            replica.reason = _SILENT
        self._refresh_totals()

    def probes(self, now: float) -> list[Command]:
        """Return the probes that are due: of replicas that do not serve, or that gave no sign of life for some time."""
        due = [replica for replica in self.replicas.values() if self._is_probe_due(replica, now)]
        for replica in due:
            replica.is_probing = True
        return [Probe(replica) for replica in due]

    def probed(
        self, replica: Replica, reason: str, now: float, abilities: Capabilities | None, cost: BatchCost | None
    ) -> None:
        """Handle the result of a probe; `Dispatcher.probed` describes the arguments."""
        replica.is_probing = False
        if abilities is not None:
            replica.set_abilities(abilities)
        if cost is not None and cost != replica.pace.cost:  # else the slowness learnt since that measurement is kept
            replica.pace.set_cost(cost)
        if reason:
            replica.next_probe = now + replica.probe_delay_s
            replica.probe_delay_s = min(replica.probe_delay_s * 2, self._limits.probe_retry_s[1])
            self.eject(replica, reason)
        else:
            self._probed_well(replica, now)
        self._refresh_totals()

    def unprobed(self, replica: Replica, now: float) -> None:
        """Schedule another probe, because this one could not be made; the replica's state does not change."""
        replica.is_probing = False
        replica.next_probe = now + self._limits.probe_retry_s[0]

    def isolate(self, replica: Replica, *, isolated: bool) -> None:
        """Reserve a replica for trials, or end that."""
        replica.is_isolated = isolated
        self._refresh_totals()

    # time

    def refresh(self, now: float, elapsed_s: float) -> None:
        """Update what changes with time alone: windows, totals, and the time without a serving replica."""
        for replica in self.replicas.values():
            replica.recover(elapsed_s)
            replica.widen(now, self._limits.slow_start_s)
        self._refresh_totals()
        if not self.serving:
            self.unserved_since = min(self.unserved_since, now)

    def stood_still(self, seconds: float) -> None:
        """Move all times forward by a period in which the gateway read nothing."""
        self.unserved_since += seconds
        for chunk in {chunk for replica in self.replicas.values() for chunk in replica.chunks}:
            chunk.sent_at += seconds
            chunk.due_at += seconds
        for replica in self.replicas.values():
            replica.shift_time(seconds)

    def _restart(self, replica: Replica, now: float) -> None:
        """Let a replica join; it is probed before it serves."""
        replica.move(ReplicaEvent.JOIN)
        replica.reason = ""
        replica.next_probe, replica.probe_delay_s = now, self._limits.probe_retry_s[0]

    def _probed_well(self, replica: Replica, now: float) -> None:
        replica.heard_at = now
        replica.refusals = 0
        replica.good_probes += 1
        replica.probe_delay_s = self._limits.probe_retry_s[0]
        replica.next_probe = now + replica.probe_delay_s
        if replica.state is ReplicaState.EJECTED and replica.good_probes < _GOOD_PROBES:
            return
        served = replica.state in {ReplicaState.SUSPECT, ReplicaState.DOUBTED}
        if not served:
            replica.failures = 0
        if replica.move(ReplicaEvent.GOOD):
            replica.reason = ""
            if not served:
                replica.since = self._slow_start_of(replica, now)
        replica.widen(now, self._limits.slow_start_s)

    def _slow_start_of(self, replica: Replica, now: float) -> float:
        """Return the time at which the slow start of a replica that begins to serve begins.

        It is the infinite past where all replicas are new: then none has the work that the slow start would spare it.
        """
        if not any(other.serves for other in self.replicas.values() if other is not replica):
            self._served_since = now
        return now if now - self._served_since >= self._limits.slow_start_s else -inf

    def _is_probe_due(self, replica: Replica, now: float) -> bool:
        if replica.is_probing or replica.is_kept_out:
            return False
        if replica.state is _ACTIVE:
            is_unproven = replica.refusals >= _REFUSALS or now - replica.heard_at > self._limits.probe_interval_s
            return is_unproven and now >= replica.next_probe
        return now >= replica.next_probe

    def _refresh_totals(self) -> None:
        """Recompute which replicas serve, and their common limits and combined throughput."""
        self.serving = tuple(replica for replica in self.replicas.values() if replica.serves)
        if self.active:
            self.unserved_since = inf
        narrowest = self.narrowest
        self.batch_texts, self.body_bytes = narrowest.batch_texts, narrowest.body_bytes
        self.batch_tokens = sum(replica.abilities.batch_tokens for replica in self._expected)
        self.tokens_per_s = sum(replica.tokens_per_s for replica in self._expected)
