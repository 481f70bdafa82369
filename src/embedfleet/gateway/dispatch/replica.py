"""A replica as the dispatcher sees it: its state, its load, its limits, its pace."""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final

from embedfleet.gateway.dispatch.pace import Pace
from embedfleet.gateway.dispatch.request import Chunk
from embedfleet.types import ReplicaState

# Time beyond the predicted end after which a replica counts as late, in seconds.
_LATE_S: Final = 0.010
# Texts under way, as a share of the replica's permits: others may use it too.
_PERMITS = 0.8
_LEFT: Final = 4096
# What a 429 leaves of the window, what comes back each second, and the least.
_THROTTLE, _RECOVERY_PER_S, _LEAST_THROTTLE = 0.7, 0.05, 0.05


State = ReplicaState


class Event(StrEnum):
    """What moves a replica from state to state."""

    GOOD = "good"  # it inferred
    SLOW = "slow"  # it is late with everything
    DOUBT = "doubt"  # all of its watched connections were closed
    BAD = "bad"  # it failed for good: refused, reset, hung, lied, or failed too often in a row
    DRAIN = "drain"
    EMPTY = "empty"  # a draining one has nothing left
    JOIN = "join"  # told of, or wanted back


_ALWAYS = {Event.DRAIN: State.DRAINING, Event.JOIN: State.JOINING}

TRANSITIONS: dict[State, dict[Event, State]] = {
    State.JOINING: {Event.GOOD: State.ACTIVE} | _ALWAYS,
    State.ACTIVE: {Event.SLOW: State.SUSPECT, Event.DOUBT: State.DOUBTED, Event.BAD: State.EJECTED} | _ALWAYS,
    State.SUSPECT: {Event.GOOD: State.ACTIVE, Event.DOUBT: State.DOUBTED, Event.BAD: State.EJECTED} | _ALWAYS,
    State.DOUBTED: {Event.GOOD: State.ACTIVE, Event.BAD: State.EJECTED} | _ALWAYS,
    State.EJECTED: {Event.GOOD: State.ACTIVE} | _ALWAYS,
    State.DRAINING: {Event.EMPTY: State.DRAINED, Event.JOIN: State.JOINING},
    State.DRAINED: {Event.JOIN: State.JOINING},
}
"""State and event → the next state; what is not there changes nothing."""


@dataclass(frozen=True, slots=True)
class Abilities:
    """What a replica takes, as its ``/info`` says.

    Attributes:
        batch_tokens: ``max_batch_tokens``.
        batch_texts: ``max_client_batch_size``, the most texts of one request.
        permits: ``max_concurrent_requests``, texts under way at once.
        input_tokens: ``max_input_length``; what is longer is cut.
        body_bytes: of a request; ``/info`` does not tell it.
    """

    batch_tokens: int = 16_384
    batch_texts: int = 32
    permits: int = 512
    input_tokens: int = 8192
    body_bytes: int = 1_500_000

    @classmethod
    def of(cls, info: Mapping[str, Any]) -> "Abilities":
        """From TEI's ``/info``; what it does not say, or says no number above zero for, is as TEI has it by default."""
        told = {name: info.get(key) for name, key in _TOLD.items()}
        able = cls(**{name: value for name, value in told.items() if type(value) is int and value > 0})
        # TEI refuses a request of more texts than it has permits, however idle it is.
        return replace(able, batch_texts=min(able.batch_texts, able.permits))


_TOLD = {
    "batch_tokens": "max_batch_tokens",
    "batch_texts": "max_client_batch_size",
    "permits": "max_concurrent_requests",
    "input_tokens": "max_input_length",
}


class Replica:
    """One replica; owned and changed by the dispatcher alone.

    Attributes:
        chunks: that it has, and when it was sent each, in that order; tokens, texts, online and bulk count them.
        lost: of these, those that are not counted any more.
        window: tokens that it may have at once.
        widest: what the window grows to.
        free_at: when it will have done all that it has, as far as can be told.
        sent: chunks ever sent, which breaks ties between equally loaded replicas.
        failures: in a row, by status or by what cannot be used.
        refusals: in a row of requests that ask for inference, by a status that is the client's fault.
        good_probes: in a row.
        full_until: after a 429 or without connections, nothing is sent before this time or the next answer.
        heard_at: when anything came from it.
        since: when it began to serve.
        next_probe: when the next probe is due, if it is not active; if it is, then at the earliest.
        probe_delay_s: what the next probe after that one waits.
        is_leaving: it goes once it is drained.
        is_isolated: it is kept free for trials, see `quarantine`.
        left: fingerprints of chunks that were taken off it because nobody waited any more, and when; the last ones.
        reason: why it is not active, in words; empty if it is.
    """

    __slots__ = (
        "abilities", "bulk", "chunks", "failures", "free_at", "full_until", "good_probes", "heard_at", "id",
        "is_isolated", "is_leaving", "left", "lost", "next_probe", "online", "pace", "permits", "probe_delay_s",
        "probing", "reason", "refusals", "sent", "since", "state", "texts", "throttle", "tokens", "widest", "window",
    )  # fmt: skip

    def __init__(self, name: str) -> None:
        self.id = name
        self.state = State.JOINING
        self.pace = Pace()
        self.chunks: dict[Chunk, float] = {}
        self.tokens = self.texts = self.online = self.bulk = 0
        self.free_at = 0.0
        self.lost: set[Chunk] = set()
        self.sent = self.failures = self.refusals = self.good_probes = 0
        self.full_until = self.heard_at = self.since = self.next_probe = self.probe_delay_s = 0.0
        self.probing = self.is_leaving = self.is_isolated = False
        self.left: deque[tuple[Sequence[int], float]] = deque(maxlen=_LEFT)
        self.reason = ""
        self.throttle = 1.0
        self.set_abilities(Abilities())

    def __repr__(self) -> str:
        """As an operator reads it."""
        return f"<{self.id} {self.state} chunks={len(self.chunks)} tokens={self.tokens} {self.reason}>"

    @property
    def chunk_tokens(self) -> int:
        """Tokens of a bulk chunk that leaves little to its fixed cost and lets online work in soon."""
        return min(self.pace.cost.chunk_tokens, self.abilities.batch_tokens)

    @property
    def tokens_per_s(self) -> float:
        """With full batches."""
        return self.pace.cost.tokens_per_s(self.abilities.batch_tokens) / self.pace.slowness

    def move(self, event: Event) -> bool:
        """Follow the table; whether the state changed."""
        before = self.state
        self.state = TRANSITIONS[before].get(event, before)
        return self.state is not before

    def set_abilities(self, abilities: Abilities) -> None:
        """What its ``/info`` says now."""
        self.abilities = abilities
        self.permits = max(1, int(_PERMITS * abilities.permits))
        self.widen(0.0, 0.0)

    def slow_down(self) -> None:
        """It answered 429: less at once, but for one chunk."""
        self.throttle = max(_LEAST_THROTTLE, self.throttle * _THROTTLE)

    def recover(self, elapsed_s: float) -> None:
        """Time passed since the last 429."""
        self.throttle = min(1.0, self.throttle * (1 + _RECOVERY_PER_S * elapsed_s))

    def widen(self, now: float, slow_start_s: float) -> None:
        """Set the window: two batches, or a second of work where that is less; less after a start and after a 429."""
        second = max(int(self.tokens_per_s), self.chunk_tokens)
        self.widest = min(2 * self.abilities.batch_tokens, second)
        share = min(1.0, (now - self.since) / slow_start_s) if slow_start_s else 1.0
        floor = min(self.chunk_tokens, self.widest)
        self.window = max(floor, int((floor + share * (self.widest - floor)) * self.throttle))

    def eta(self, now: float) -> float:
        """Seconds until it has done what it has.

        Of a bulk chunk so much is left as the clock says. Small work is answered batch by batch, in bursts, so there
        only what is left to be answered tells. One that is late is not about to be free: what it will still take grows
        with the delay, else a replica that hangs would look like the best.
        """
        if not self.tokens:
            return 0.0
        left = self.free_at - now
        if left < -_LATE_S:
            return -2.0 * left
        if not self.bulk:
            return self.pace.token_s * self.tokens
        return max(0.0, left)

    def take(self, chunk: Chunk, now: float) -> float:
        """Count a chunk that is being sent; returns how long its answer is expected to take."""
        pace = self.pace
        work = pace.token_s * chunk.tokens
        if not self.tokens:
            self.free_at = now + work + pace.batch_s
        else:
            start = max(now, self.free_at)
            self.free_at = start + work if chunk.online else start + work + pace.batch_s
        self.tokens += chunk.tokens
        self.texts += chunk.texts
        if chunk.online:
            self.online += 1
        else:
            self.bulk += 1
        self.chunks[chunk] = now
        self.sent += 1
        return self.free_at - now

    def lose(self, chunk: Chunk, now: float) -> None:
        """Count a chunk no longer: it hangs while others are answered, and what it keeps free would stay idle."""
        self._discount(chunk, now)
        self.lost.add(chunk)

    def drop(self, chunk: Chunk, now: float) -> float:
        """Take a chunk off: it was answered, failed or cancelled; returns when it was sent."""
        sent_at = self.chunks.pop(chunk)
        if chunk in self.lost:
            self.lost.remove(chunk)
        else:
            self._discount(chunk, now)
        return sent_at

    def _discount(self, chunk: Chunk, now: float) -> None:
        self.tokens -= chunk.tokens
        self.texts -= chunk.texts
        if chunk.online:
            self.online -= 1
        else:
            self.bulk -= 1
        if not self.tokens:
            self.free_at = now
            return
        whole = now + self.pace.batch_s + self.pace.token_s * self.tokens
        if not now < self.free_at <= whole:
            self.free_at = whole

    def is_overdue(self, now: float) -> bool:
        """Whether it is late with something: patience counts from the sending, and anew from any sign of life."""
        return any(self.is_late_with(chunk, now) for chunk in self.chunks)

    def is_late_with(self, chunk: Chunk, now: float) -> bool:
        """Likewise, with one chunk."""
        return max(self.chunks[chunk], self.heard_at) + chunk.due_at - chunk.sent_at < now
