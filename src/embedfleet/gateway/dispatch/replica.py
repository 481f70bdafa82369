"""A replica as the dispatcher sees it: state, load, limits and pace."""

from collections import deque
from collections.abc import Sequence
from typing import Final

from embedfleet.gateway.dispatch.batch_cycle import BatchCycle
from embedfleet.gateway.dispatch.capabilities import Capabilities
from embedfleet.gateway.dispatch.replica_speed import Pace
from embedfleet.gateway.dispatch.request import Chunk
from embedfleet.gateway.dispatch.state_transitions import TRANSITIONS, ReplicaEvent
from embedfleet.types import ReplicaState

_ACTIVE: Final = ReplicaState.ACTIVE  # a name is cheaper to look up than a member of an enum
_KEPT_OUT = frozenset({ReplicaState.DRAINING, ReplicaState.DRAINED})
# Seconds beyond the predicted end after which a replica counts as late.
_LATE_S: Final = 0.010
# Share of the replica's permits that our texts may take, because others may use the replica too.
_PERMITS = 0.8
_ABANDONED: Final = 4096  # chunks remembered in `abandoned`
# Share of the window that remains after a 429, growth of that share per second, and least share.
_THROTTLE, _RECOVERY_PER_S, _LEAST_THROTTLE = 0.7, 0.05, 0.05


class Replica:
    """State of one replica; only the dispatcher changes it.

    Args:
        name: Name of the replica.

    Attributes:
        chunks: Chunks at the replica with the time each was sent, oldest first. ``tokens``, ``texts``,
            ``online_chunks`` and ``bulk_chunks`` count them.
        lost: Those of ``chunks`` that are no longer counted.
        window: Most tokens that the replica may have at once.
        widest: Upper bound of the window, in tokens.
        free_at: Predicted time at which the replica has finished all its chunks.
        sent: Number of chunks ever sent to the replica; breaks ties between equally loaded replicas.
        failures: Failures in a row, by status or by an unusable reply.
        refusals: Requests for inference in a row that were answered with an error outside `retries.TROUBLE`.
        good_probes: Good probes in a row.
        full_until: Time until which the replica is sent nothing, after a 429 or for lack of connections, unless it
            answers first.
        heard_at: Time of the last sign of life.
        since: Time at which the replica began to serve beside others; the infinite past if it began together with them.
        next_probe: Time of the next probe; for an active replica, the earliest time.
        probe_delay_s: Wait before the probe after the next one.
        is_probing: Whether a probe is in progress.
        is_leaving: Whether the replica is removed once it has drained.
        is_isolated: Whether the replica is kept free for trials (`quarantine`).
        abandoned: Fingerprints and times of the last chunks that were taken off because their requests ended, mostly
            because the clients left.
        reason: Cause, in words, of a state other than active; empty if the replica is active.
    """

    __slots__ = (
        "abandoned", "abilities", "bulk_chunks", "chunks", "cycle", "failures", "free_at", "full_until", "good_probes",
        "heard_at", "id", "is_isolated", "is_leaving", "is_probing", "lost", "next_probe", "online_chunks", "pace",
        "permits", "probe_delay_s", "reason", "refusals", "sent", "since", "state", "texts", "throttle", "tokens",
        "widest", "window",
    )  # fmt: skip

    def __init__(self, name: str) -> None:
        self.id = name
        self.state = ReplicaState.JOINING
        self.pace = Pace()
        self.cycle = BatchCycle(self.pace)
        self.chunks: dict[Chunk, float] = {}
        self.tokens = self.texts = self.online_chunks = self.bulk_chunks = 0
        self.free_at = 0.0
        self.lost: set[Chunk] = set()
        self.sent = self.failures = self.refusals = self.good_probes = 0
        self.full_until = self.heard_at = self.since = self.next_probe = self.probe_delay_s = 0.0
        self.is_probing = self.is_leaving = self.is_isolated = False
        self.abandoned: deque[tuple[Sequence[int], float]] = deque(maxlen=_ABANDONED)
        self.reason = ""
        self.throttle = 1.0
        self.set_abilities(Capabilities())

    def __repr__(self) -> str:
        """Return name, state and load as text for debugging."""
        return f"<{self.id} {self.state} chunks={len(self.chunks)} tokens={self.tokens} {self.reason}>"

    # state

    def move(self, event: ReplicaEvent) -> bool:
        """Change the state as `TRANSITIONS` says; return whether it changed."""
        before = self.state
        self.state = TRANSITIONS[before].get(event, before)
        return self.state is not before

    @property
    def serves(self) -> bool:
        """Whether the replica may get work: it is active, and not kept free for trials."""
        return self.state is _ACTIVE and not self.is_isolated

    @property
    def is_kept_out(self) -> bool:
        """Whether an operator drained the replica, or it is leaving."""
        return self.state in _KEPT_OUT

    @property
    def is_trying(self) -> bool:
        """Whether a chunk is on trial at the replica."""
        return any(chunk.is_on_trial for chunk in self.chunks)

    # room for more work

    def is_available(self, now: float) -> bool:
        """Return whether the replica may get work now: it serves, and is not paused."""
        return self.full_until <= now and self.state is _ACTIVE and not self.is_isolated

    def has_room(self, tokens: int, texts: int, *, ignores_window: bool = False) -> bool:
        """Return whether more tokens and texts fit into the window and the permits; an idle replica takes anything.

        Args:
            tokens: Estimated tokens of the chunk.
            texts: Texts of the chunk.
            ignores_window: Whether only the number of texts counts, for work that waited too long.
        """
        held = self.tokens
        return not held or ((ignores_window or held + tokens <= self.window) and self.texts + texts <= self.permits)

    def can_take(self, tokens: int, texts: int, now: float) -> bool:
        """Return whether the replica is available and has room; one call, because each request asks each replica."""
        if self.full_until > now or self.state is not _ACTIVE or self.is_isolated:
            return False
        held = self.tokens
        return not held or (held + tokens <= self.window and self.texts + texts <= self.permits)

    @property
    def chunk_tokens(self) -> int:
        """Tokens of a bulk chunk: so many that its fixed cost is small, so few that online work waits only briefly."""
        return min(self.pace.cost.chunk_tokens, self.abilities.batch_tokens)

    @property
    def tokens_per_s(self) -> float:
        """Throughput with full batches, in tokens per second."""
        return self.pace.cost.tokens_per_s(self.abilities.batch_tokens) / self.pace.slowness

    @property
    def batch_work_s(self) -> float:
        """Predicted seconds of a full batch."""
        return self.pace.token_s * self.abilities.batch_tokens

    def set_abilities(self, abilities: Capabilities) -> None:
        """Set the limits that the replica's ``/info`` states now."""
        self.abilities = abilities
        self.cycle.batch_tokens = abilities.batch_tokens
        self.permits = max(1, int(_PERMITS * abilities.permits))
        self.widen(0.0, 0.0)

    def pause_until(self, until: float) -> None:
        """Pause sends to the replica until the given time, unless it answers first."""
        self.full_until = until

    def slow_down(self) -> None:
        """Shrink the usable share of the window, after a 429."""
        self.throttle = max(_LEAST_THROTTLE, self.throttle * _THROTTLE)

    def recover(self, elapsed_s: float) -> None:
        """Grow the usable share of the window, as time passes without a 429."""
        self.throttle = min(1.0, self.throttle * (1 + _RECOVERY_PER_S * elapsed_s))

    def widen(self, now: float, slow_start_s: float) -> None:
        """Set the window: two batches or one second of work, whichever is less; smaller after a start or a 429.

        Args:
            now: Time in seconds.
            slow_start_s: Seconds from the start of serving until the window has its full size.
        """
        second = max(int(self.tokens_per_s), self.chunk_tokens)
        self.widest = min(2 * self.abilities.batch_tokens, second)
        share = min(1.0, (now - self.since) / slow_start_s) if slow_start_s else 1.0
        floor = min(self.chunk_tokens, self.widest)
        self.window = max(floor, int((floor + share * (self.widest - floor)) * self.throttle))

    # its chunks

    def eta(self, now: float) -> float:
        """Return the predicted seconds until the replica has finished all its chunks.

        The rest of a bulk chunk follows from the clock. Small chunks are answered batch by batch, in bursts, so only
        their unanswered tokens tell how much is left. The prediction of a late replica grows with its delay; otherwise
        a replica that hangs would look like the best choice.
        """
        if not self.tokens:
            return 0.0
        left = self.free_at - now
        if left < -_LATE_S:
            return -2.0 * left
        if not self.bulk_chunks:
            return self.pace.token_s * self.tokens
        return max(0.0, left)

    def take(self, chunk: Chunk, now: float) -> float:
        """Add a chunk that is being sent; return the predicted seconds until its answer."""
        pace, tokens = self.pace, chunk.tokens
        work = pace.token_s * tokens
        expected_s = work + pace.batch_s
        if not self.tokens:
            self.free_at = now + expected_s
        else:
            start = max(now, self.free_at)
            self.free_at = start + work if chunk.is_online else start + expected_s
            expected_s = max(self.free_at - now, self.cycle.seconds_until(tokens, now, grows=False))
        self.tokens += tokens
        self.texts += chunk.texts
        if chunk.is_online:
            self.online_chunks += 1
        else:
            self.bulk_chunks += 1
        self.cycle.add(tokens, now)
        self.chunks[chunk] = now
        self.sent += 1
        return expected_s

    def lose(self, chunk: Chunk, now: float) -> None:
        """Stop counting a chunk that hangs while others are answered, so that its share of the window is used again."""
        self._discount(chunk, self.chunks[chunk], now)
        self.lost.add(chunk)

    def drop(self, chunk: Chunk, now: float) -> float:
        """Remove a chunk that was answered, failed or cancelled; return the time at which it was sent."""
        sent_at = self.chunks.pop(chunk)
        if chunk in self.lost:
            self.lost.remove(chunk)
        else:
            self._discount(chunk, sent_at, now)
        return sent_at

    def _discount(self, chunk: Chunk, sent_at: float, now: float) -> None:
        self.cycle.take_off(chunk.tokens, sent_at, now)
        self.tokens -= chunk.tokens
        self.texts -= chunk.texts
        if chunk.is_online:
            self.online_chunks -= 1
        else:
            self.bulk_chunks -= 1
        if not self.tokens:
            self.free_at = now
            return
        whole = now + self.pace.batch_s + self.pace.token_s * self.tokens
        if not now < self.free_at <= whole:
            self.free_at = whole

    def answered(self, chunk: Chunk, now: float) -> None:
        """Note that a chunk was computed, before it is dropped: its batch has ended."""
        if self.cycle.ends_batch(self.chunks[chunk], now):
            lost = self.lost
            self.cycle.start_next(now, [(at, one.tokens) for one, at in self.chunks.items() if one not in lost])

    def shift_time(self, seconds: float) -> None:
        """Shift all times forward by a period in which the gateway read nothing."""
        self.heard_at += seconds
        self.free_at += seconds
        self.cycle.shift_time(seconds)
        self.chunks = {chunk: sent_at + seconds for chunk, sent_at in self.chunks.items()}

    # silence

    def is_silent(self, now: float) -> bool:
        """Return whether the replica, in any state, keeps a client waiting for longer than predicted."""
        return bool(self.chunks) and (self.state is ReplicaState.SUSPECT or self.is_overdue(now))

    def is_overdue(self, now: float) -> bool:
        """Return whether the replica is late with any chunk."""
        return any(self.is_late_with(chunk, now) for chunk in self.chunks)

    def is_late_with(self, chunk: Chunk, now: float) -> bool:
        """Return whether the replica is late with this chunk; each sign of life starts the allowed time again."""
        return max(self.chunks[chunk], self.heard_at) + chunk.due_at - chunk.sent_at < now
