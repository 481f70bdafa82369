"""The state machine of a service: it takes events with the time, and returns commands.

Events are method calls; each returns the commands that follow from it. The proxy reports events and executes commands;
a simulator can do the same. The package's docstring lists what follows from each kind of answer or failure.
"""

from collections.abc import Collection, Mapping, Sequence
from math import inf
from typing import Final

from embedfleet.gateway.dispatch.admission import Admission
from embedfleet.gateway.dispatch.bulk_sender import BulkSender
from embedfleet.gateway.dispatch.capabilities import Capabilities
from embedfleet.gateway.dispatch.commands import Command, Failure, Join, Relay
from embedfleet.gateway.dispatch.deadlines import give_up
from embedfleet.gateway.dispatch.estimate import DrainRate, TokenEstimate
from embedfleet.gateway.dispatch.hedges import asks_again, hedge, lose
from embedfleet.gateway.dispatch.limits import DispatchLimits
from embedfleet.gateway.dispatch.online_sender import OnlineSender
from embedfleet.gateway.dispatch.open_requests import OpenRequests, split_at_once
from embedfleet.gateway.dispatch.pool import CLOSED, Pool
from embedfleet.gateway.dispatch.quarantine import Quarantine
from embedfleet.gateway.dispatch.replica import Replica
from embedfleet.gateway.dispatch.replica_choice import place_online
from embedfleet.gateway.dispatch.replica_speed import BatchCost
from embedfleet.gateway.dispatch.request import Chunk, Request, RequestPart
from embedfleet.gateway.dispatch.retries import THROTTLED, TROUBLE, Retries
from embedfleet.gateway.dispatch.splitting import WHOLE_TOKENS, split_state_of
from embedfleet.gateway.dispatch.text_records import Standing, TextRecords

__all__ = ["THROTTLED", "TICK_S", "TROUBLE", "Dispatcher"]

TICK_S = 0.1
"""Seconds between two calls of `Dispatcher.tick`; another call is due at `Dispatcher.due`."""

_REFUSED: Final = 400  # least status of an answer for which nothing was computed
_ONLINE_SEEN_S = 1.0  # seconds after the last online request during which online work counts as present


class Dispatcher:
    """Decides when each chunk is sent and to which replica; it owns replicas, queues, budgets and learnt rates.

    Args:
        limits: Limits and rules; None means the defaults.

    Attributes:
        limits: Limits and rules.
        estimate: Learnt tokens per character.
        rate: Learnt tokens per second.
        quarantine: Accused requests and their trials.
        due: Time at which `tick` must be called before the regular tick; infinite if that is not necessary.
    """

    def __init__(self, limits: DispatchLimits | None = None) -> None:
        self.limits = limits or DispatchLimits()
        self._pool = Pool(self.limits)
        self.estimate = TokenEstimate()
        self.rate = DrainRate()
        self._admission = Admission(self.limits, self.rate)
        self.due = inf
        self._records = TextRecords(self.limits.quarantine_s)
        self._requests = OpenRequests(self._pool, self._records, prefer_online=self.limits.prefer_online)
        self.quarantine = Quarantine(self._pool, self._requests)
        self._online = OnlineSender(self._pool, self._requests, self.quarantine)
        self._bulk = BulkSender(self.limits, self._pool, self._requests, self.quarantine)
        self._retries = Retries(self.limits, self._pool, self._requests, self.quarantine)
        self._online_at = -inf
        self._ticked_at = 0.0

    def __repr__(self) -> str:
        """Return the queues and replicas as text for debugging."""
        return f"<Dispatcher queued={self.queued} tokens={self.queued_tokens} {list(self.replicas.values())}>"

    @property
    def replicas(self) -> dict[str, Replica]:
        """All replicas by name."""
        return self._pool.replicas

    @property
    def serving(self) -> tuple[Replica, ...]:
        """Replicas that may get work."""
        return self._pool.serving

    @property
    def batch_texts(self) -> int:
        """The most texts that every serving replica takes at once."""
        return self._pool.batch_texts

    @property
    def queued(self) -> int:
        """Number of waiting requests and chunks."""
        return self._requests.waiting

    @property
    def queued_tokens(self) -> int:
        """Estimated tokens of everything that waits."""
        return self._requests.waiting_tokens

    @property
    def queued_bytes(self) -> int:
        """Bytes of the bodies of requests that wait, or had to wait and are not over."""
        return self._requests.queued_bytes

    @property
    def accused(self) -> Collection[Chunk]:
        """Chunks that wait for their trial, alone on a replica."""
        return list(self._requests.accused_queue)

    @property
    def remembered(self) -> int:
        """Number of records of texts, or of several texts together, in `text_records`."""
        return len(self._records.known)

    @property
    def under_way(self) -> int:
        """Number of requests without a final answer."""
        return len(self._requests.open)

    @property
    def repeated_tokens(self) -> int:
        """Estimated tokens that were sent again, or to a second replica."""
        requests = self._requests
        return requests.retry_budget.spent + requests.hedge_budget.spent + self.quarantine.repeated_tokens

    # requests

    def assign(self, request: Request, now: float) -> Replica | None:
        """Return the replica to which a request goes whole and at once; if None, the caller calls `arrived`."""
        requests, pool = self._requests, self._pool
        requests.open[request] = None
        request.is_online = request.is_online or not self.limits.prefer_online
        if not request.is_online:
            return None
        self._online_at = now
        if requests.online_queue or request.texts > pool.batch_texts or request.tokens > WHOLE_TOKENS:
            return None
        if request.size_bytes > pool.body_bytes:
            return None
        if self._records.known and self._records.of(request.fingerprints, now):
            return None
        replica = place_online(pool.serving, request, now)
        if replica is not None:
            self._admission.redeem(request, now)  # else the client would count as one that stayed away
            requests.send(request, replica, now)
        return replica

    def arrived(self, request: Request, now: float) -> list[Command]:
        """Queue or split a request for which `assign` found no replica."""
        requests = self._requests
        standing = self._records.of(request.fingerprints, now) if self._records.known else Standing.NONE
        if standing > Standing.ACCUSED or (standing and request.is_shared):
            return self.quarantine.turn_away(request, now)
        refusal = self._admission.refusal(
            request,
            waiting=requests.waiting_tokens_of_class(is_online=request.is_online),
            queued_bytes=requests.queued_bytes,
            tokens_per_s=self._pool.tokens_per_s,
            now=now,
        )
        if refusal is not None:
            requests.finish(request)
            return [refusal]
        requests.hold(request)
        if standing is Standing.ACCUSED:
            for chunk in self.quarantine.split(request, self.limits, now):
                if not self.quarantine.holds(chunk, now):
                    requests.wait_again(chunk)
        elif request.is_online:
            for chunk in split_at_once(request, self._pool, self.limits):
                requests.online_queue.push(chunk)
        else:
            if self.limits.split and request.texts > 1:
                by_length = self.limits.sort_by_length
                request.split_state = split_state_of(request, self._pool.narrowest, by_length=by_length)
            requests.bulk_queue.push(request)
        return self._dispatch(now)

    def answered(
        self, chunk: Chunk, replica: Replica, status: int, now: float, tokens: int | None = None
    ) -> list[Command] | None:
        """Handle a replica's whole reply, or the head of a streamed reply.

        Args:
            chunk: Chunk that the replica replied to.
            replica: Replica that replied.
            status: Status of the reply.
            now: Time in seconds.
            tokens: Tokens of the chunk as the replica states them; None if it does not.

        Returns:
            The commands that follow. None stands for a single `Relay`, and is cheaper: the reply to a whole request is
            relayed, and nothing else follows.
        """
        request = chunk.request
        if request.is_inference and status < _REFUSED:
            replica.answered(chunk, now)
        sent_at = self._requests.drop(chunk, replica, now)
        replica.heard_at = now
        replica.full_until = 0.0
        if chunk.is_accused:
            self.quarantine.ended(replica)
            if status != THROTTLED:
                self.quarantine.acquit(chunk)
            if request.is_over and status not in TROUBLE:  # the client left during the trial
                self._pool.mark_alive(replica)
                replica.failures = 0
                return self._then(self._call_off(chunk, now), replica, now)
        if status in TROUBLE:
            self._pool.mark_alive(replica)
            commands = self._retries.after_status(chunk, replica, status, now)
            return self._then([*commands, *self._call_off(chunk, now)], replica, now)
        if request.is_inference and status < _REFUSED:
            self._learn(chunk, replica, sent_at, now, tokens)
        elif request.is_inference:
            replica.refusals += 1
        if chunk is request and not chunk.replica_id and replica.serves:
            self._requests.finish(request)
            if not self._requests.online_queue and not self._requests.bulk_queue:
                return None
            return [Relay(request), *self._dispatch(now)]
        self._pool.mark_alive(replica)
        return self._then(self._answered_well(chunk, status, now), replica, now)

    def failed(self, chunk: Chunk, replica: Replica, failure: Failure, now: float) -> list[Command]:
        """Handle a replica's failure to give a usable answer."""
        if failure is Failure.TIMED_OUT and chunk in replica.lost:
            failure = Failure.BROKEN  # it answered other chunks meanwhile
        self._requests.drop(chunk, replica, now)
        commands = self._retries.after_failure(chunk, replica, failure, now)
        return self._then([*commands, *self._call_off(chunk, now)], replica, now)

    def left(self, request: Request, now: float) -> list[Command]:
        """Handle a client that has left; nothing follows if its request is over."""
        if request.is_over:
            return []
        commands = self._requests.abandon(request, now)
        return [*commands, *self._dispatch(now)]

    # replicas

    def set_members(self, names: Sequence[str], now: float) -> list[Command]:
        """Set the replicas of the service: new ones join; missing ones drain and are then removed."""
        return [*self._pool.set_members(names, now), *self.tick(now)]

    def drain(self, name: str) -> list[Command]:
        """Stop sending a replica new work until `undrain`; it finishes what it has.

        Raises:
            KeyError: There is no such replica.
        """
        return self._pool.drain(name)

    def undrain(self, name: str, now: float) -> list[Command]:
        """Let a replica that an operator drained join again.

        Raises:
            KeyError: There is no such replica.
        """
        self._pool.undrain(name, now)
        return self.tick(now)

    def probed(
        self, name: str, reason: str, now: float, abilities: Capabilities | None = None, cost: BatchCost | None = None
    ) -> list[Command]:
        """Handle the result of a probe.

        Args:
            name: Name of the replica.
            reason: Fault of the replica, in words; empty if it inferred.
            now: Time in seconds.
            abilities: Limits from its ``/info``; None if it was not asked for.
            cost: Cost of its batches; None if it was not measured.
        """
        replica = self.replicas.get(name)
        if replica is None:
            return []
        commands: list[Command] = []
        if reason:
            self.quarantine.lost(replica, now)
            commands = self.quarantine.hung(replica, now)
        self._pool.probed(replica, reason, now, abilities, cost)
        return self._then(commands, replica, now)

    def unprobed(self, name: str, now: float) -> list[Command]:
        """Note that the gateway itself could not make a probe: the replica keeps its state, and is probed later."""
        replica = self.replicas.get(name)
        if replica is None:
            return []
        self._pool.unprobed(replica, now)
        return self._pool.emptied(replica)

    def distrust(self, name: str, reason: str) -> None:
        """Eject a replica until it passes probes again, for a reason that the caller states."""
        self._pool.eject(self.replicas[name], reason)

    def doubt(self, name: str, now: float) -> list[Command]:
        """Note that the replica may now be another process, because the connections that watched it were closed."""
        replica = self.replicas.get(name)
        if replica is None:
            return []
        self.quarantine.lost(replica, now)
        self._pool.doubt(replica, CLOSED, now)
        return self.tick(now)

    def change_model(self, reasons: Mapping[str, str], now: float) -> list[Command]:
        """Switch to another model: results of the former model are no longer relayed.

        Args:
            reasons: Reason why each replica of the former model no longer serves, by name.
            now: Time in seconds.
        """
        for name, reason in reasons.items():
            self._pool.eject(self.replicas[name], reason)
        commands = self._requests.start_over(now)
        self.quarantine.release()
        return [*commands, *self.tick(now)]

    def asks_again(self, chunk: Chunk, replica: Replica, idle_since: float, now: float) -> bool:
        """Return whether to send a chunk to its replica again on a new connection (see `hedges.asks_again`)."""
        return asks_again(chunk, replica, self._requests, self.limits, idle_since=idle_since, now=now)

    # time

    def tick(self, now: float) -> list[Command]:
        """Act on what time alone changes: deadlines, probes, silence. Call this every `TICK_S` and at `due`."""
        commands: list[Command] = []
        if now - self._ticked_at >= TICK_S / 2:
            commands += self._pass_time(now)
        return [*commands, *self._dispatch(now), *self._pool.probes(now)]

    def stood_still(self, seconds: float) -> None:
        """Exclude from all measurements of silence and speed a period in which the gateway read nothing."""
        self._pool.stood_still(seconds)
        self.rate.stood_still(seconds)

    def _pass_time(self, now: float) -> list[Command]:
        """Update what changes with time alone."""
        self._pool.refresh(now, min(now - self._ticked_at, 1.0))
        self._ticked_at = now
        self.rate.measure(now, busy=any(replica.chunks for replica in self.replicas.values()))
        commands = give_up(self.limits, self._pool, self._requests, now)
        if not self._is_trying:  # else a record could lapse before its trial
            self._records.expire(now)
        self._pool.suspect(now)
        lose(self._pool, now)
        if self.limits.hedge:
            commands += hedge(self.limits, self._pool, self._requests, self.quarantine, now)
        return [*commands, *self._bulk.feed(now)]

    # internals

    @property
    def _is_trying(self) -> bool:
        """Whether a trial is in progress or a chunk waits for one."""
        return bool(self._requests.accused_queue) or self.quarantine.cell is not None

    def _dispatch(self, now: float) -> list[Command]:
        """Send everything that can be sent now: online work first, and bulk work only while no online work waits."""
        commands = self.quarantine.dispatch(now) if self._is_trying else []
        commands += self._online.dispatch(now)
        self.due = inf
        if self._requests.bulk_queue and not self._requests.online_queue:
            commands += self._bulk.dispatch(now, has_online=now - self._online_at < _ONLINE_SEEN_S)
            self.due = self._bulk.due
        return commands

    def _then(self, commands: list[Command], replica: Replica, now: float) -> list[Command]:
        """Add the sends that are possible now, and the end of the replica's draining if it has nothing left."""
        return [*commands, *self._dispatch(now), *self._pool.emptied(replica)]

    def _learn(self, chunk: Chunk, replica: Replica, sent_at: float, now: float, tokens: int | None) -> None:
        """Update failure counts and learnt rates from a good answer."""
        replica.failures = replica.refusals = 0
        if chunk.unanswered_by:
            self._retries.note_success(chunk)
        if tokens is not None:
            self.estimate.learn(chunk.tokens, chunk.texts, tokens)
        replica.pace.learn(chunk.tokens, sent_at, now)
        self.rate.finished(chunk.tokens)

    def _answered_well(self, chunk: Chunk, status: int, now: float) -> list[Command]:
        """End a chunk with a final answer; end its request too if that was the last chunk or the answer is an error."""
        commands = self._requests.cancel(chunk, now)
        request, state = chunk.request, chunk.request.split_state
        if state is None or not isinstance(chunk, RequestPart):
            self._requests.finish(request)
            return [*commands, Relay(chunk)]
        del state.parts[chunk]
        if status >= _REFUSED:
            return [*commands, *self._requests.abandon(request, now), Relay(chunk)]
        state.unanswered -= chunk.texts
        if not state.unanswered:
            self._requests.finish(request)
            commands.append(Join(request))
        return commands

    def _call_off(self, chunk: Chunk, now: float) -> list[Command]:
        """Take an acquitted chunk off its replicas if its request is over; only the trial had kept it there."""
        return self._requests.cancel(chunk, now) if chunk.request.is_over and not chunk.is_accused else []
