"""A replica as the gateway sees it: its state, its load, its health."""

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """A replica's phase."""

    JOINING = "joining"  # told of, not yet seen to infer
    ACTIVE = "active"
    EJECTED = "ejected"  # it failed; probes go on
    DRAINING = "draining"  # finishes what it has, then goes


class Event(StrEnum):
    """What moves a replica from state to state."""

    GOOD = "good"  # it inferred
    BAD = "bad"  # it failed for good: refused, reset, hung, lied, or failed too often in a row
    DRAIN = "drain"
    JOIN = "join"  # told of, or wanted back before its drain was over


_ALWAYS = {Event.DRAIN: State.DRAINING, Event.JOIN: State.JOINING}

TRANSITIONS: dict[State, dict[Event, State]] = {
    State.JOINING: {Event.GOOD: State.ACTIVE, Event.BAD: State.JOINING} | _ALWAYS,
    State.ACTIVE: {Event.GOOD: State.ACTIVE, Event.BAD: State.EJECTED} | _ALWAYS,
    State.EJECTED: {Event.GOOD: State.ACTIVE, Event.BAD: State.EJECTED} | _ALWAYS,
    State.DRAINING: {Event.GOOD: State.DRAINING, Event.BAD: State.DRAINING} | _ALWAYS,
}


@dataclass(slots=True)
class Replica:
    """One replica; owned and changed by the dispatcher alone.

    Attributes:
        requests: sent and not yet answered.
        tokens: estimated, of those requests.
        sent: requests ever sent, which breaks ties between equally loaded replicas.
        failures: failures in a row.
        full_until: after a 429, nothing is sent before this time or the next answer.
        last_good: when it last inferred.
        next_probe: when the next probe is due, if it is not active.
        probe_delay_s: what the next probe after that one waits.
        reason: why it is not active, in words; empty if it is.
    """

    id: str
    state: State = State.JOINING
    requests: int = 0
    tokens: int = 0
    sent: int = 0
    failures: int = 0
    full_until: float = 0.0
    last_good: float = 0.0
    next_probe: float = 0.0
    probe_delay_s: float = 0.0
    probing: bool = False
    reason: str = ""

    def __repr__(self) -> str:
        """As an operator reads it."""
        return f"<{self.id} {self.state} requests={self.requests} tokens={self.tokens} {self.reason}>"

    def move(self, event: Event) -> None:
        """Follow the table."""
        self.state = TRANSITIONS[self.state][event]
