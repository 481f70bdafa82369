"""The states of a replica, and the events that move it from one to another."""

from enum import StrEnum


class State(StrEnum):
    """A replica's state."""

    JOINING = "joining"  # listed, and has not inferred yet
    ACTIVE = "active"
    SUSPECT = "suspect"  # late with everything it has; gets nothing new until it answers anything
    DOUBTED = "doubted"  # may be another process; gets nothing new until it has inferred once
    EJECTED = "ejected"  # it failed; probes go on
    DRAINING = "draining"  # finishes what it has
    DRAINED = "drained"  # has finished, and is kept out until an operator wants it back


class ReplicaEvent(StrEnum):
    """An event that moves a replica from state to state."""

    GOOD = "good"  # it inferred
    SLOW = "slow"  # it is late with everything
    DOUBT = "doubt"  # all of its watched connections were closed
    BAD = "bad"  # it is out: refused, reset, hung, gave a wrong answer, or failed too often in a row
    DRAIN = "drain"
    EMPTY = "empty"  # it is draining and has nothing left
    JOIN = "join"  # it is listed, or wanted back


_ALWAYS = {ReplicaEvent.DRAIN: State.DRAINING, ReplicaEvent.JOIN: State.JOINING}

TRANSITIONS: dict[State, dict[ReplicaEvent, State]] = {
    State.JOINING: {ReplicaEvent.GOOD: State.ACTIVE} | _ALWAYS,
    State.ACTIVE: {
        ReplicaEvent.SLOW: State.SUSPECT,
        ReplicaEvent.DOUBT: State.DOUBTED,
        ReplicaEvent.BAD: State.EJECTED,
    }
    | _ALWAYS,
    State.SUSPECT: {
        ReplicaEvent.GOOD: State.ACTIVE,
        ReplicaEvent.DOUBT: State.DOUBTED,
        ReplicaEvent.BAD: State.EJECTED,
    }
    | _ALWAYS,
    State.DOUBTED: {ReplicaEvent.GOOD: State.ACTIVE, ReplicaEvent.BAD: State.EJECTED} | _ALWAYS,
    State.EJECTED: {ReplicaEvent.GOOD: State.ACTIVE} | _ALWAYS,
    State.DRAINING: {ReplicaEvent.EMPTY: State.DRAINED, ReplicaEvent.JOIN: State.JOINING},
    State.DRAINED: {ReplicaEvent.JOIN: State.JOINING},
}
"""Next state by state and event; an event that is not listed changes nothing."""
