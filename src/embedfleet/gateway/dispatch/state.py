"""The events that move a replica from one state to another. The states are `types.ReplicaState`."""

from enum import StrEnum

from embedfleet.types import ReplicaState


class ReplicaEvent(StrEnum):
    """An event that moves a replica from state to state."""

    GOOD = "good"  # it inferred
    SLOW = "slow"  # it is late with everything
    DOUBT = "doubt"  # all of its watched connections were closed
    BAD = "bad"  # it is out: refused, reset, hung, gave a wrong answer, or failed too often in a row
    DRAIN = "drain"
    EMPTY = "empty"  # it is draining and has nothing left
    JOIN = "join"  # it is listed, or wanted back


_ALWAYS = {ReplicaEvent.DRAIN: ReplicaState.DRAINING, ReplicaEvent.JOIN: ReplicaState.JOINING}

TRANSITIONS: dict[ReplicaState, dict[ReplicaEvent, ReplicaState]] = {
    ReplicaState.JOINING: {ReplicaEvent.GOOD: ReplicaState.ACTIVE} | _ALWAYS,
    ReplicaState.ACTIVE: {
        ReplicaEvent.SLOW: ReplicaState.SUSPECT,
        ReplicaEvent.DOUBT: ReplicaState.DOUBTED,
        ReplicaEvent.BAD: ReplicaState.EJECTED,
    }
    | _ALWAYS,
    ReplicaState.SUSPECT: {
        ReplicaEvent.GOOD: ReplicaState.ACTIVE,
        ReplicaEvent.DOUBT: ReplicaState.DOUBTED,
        ReplicaEvent.BAD: ReplicaState.EJECTED,
    }
    | _ALWAYS,
    ReplicaState.DOUBTED: {ReplicaEvent.GOOD: ReplicaState.ACTIVE, ReplicaEvent.BAD: ReplicaState.EJECTED} | _ALWAYS,
    ReplicaState.EJECTED: {ReplicaEvent.GOOD: ReplicaState.ACTIVE} | _ALWAYS,
    ReplicaState.DRAINING: {ReplicaEvent.EMPTY: ReplicaState.DRAINED, ReplicaEvent.JOIN: ReplicaState.JOINING},
    ReplicaState.DRAINED: {ReplicaEvent.JOIN: ReplicaState.JOINING},
}
"""Next state by state and event; an event that is not listed changes nothing."""
