"""Transitions between the states of a replica (`types.ReplicaState`), and the events that cause them."""

from enum import StrEnum

from embedfleet.types import ReplicaState


class ReplicaEvent(StrEnum):
    """An event that may change a replica's state."""

    GOOD = "good"  # it passed the probes that it needs, or gave a sign of life
    SLOW = "slow"  # it is late, without a sign of life
    DOUBT = "doubt"  # its watched connections were closed, it gave an unusable answer, or failed several times in a row
    BAD = "bad"  # it refused, reset, hung, failed a probe, or failed a chunk that another replica answered
    DRAIN = "drain"
    EMPTY = "empty"  # it is draining, and has no chunk left
    JOIN = "join"  # it is listed for the first time or again, or undrained


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
"""Next state by state and event; an event without an entry changes nothing."""
