"""Phases of a child's life, and the events that lead from one to the next, as a table."""

from enum import StrEnum


class Phase(StrEnum):
    """Phase of a child's life."""

    PENDING = "pending"  # never started
    STARTING = "starting"  # runs, and loads
    READY = "ready"  # listens
    BACKOFF = "backoff"  # died; is started again after a wait
    STOPPING = "stopping"  # was told to end
    STOPPED = "stopped"  # ended as it was told to


class PhaseEvent(StrEnum):
    """Event in a child's life."""

    START = "start"
    READY = "ready"
    EXIT = "exit"
    STOP = "stop"


TRANSITIONS: dict[Phase, dict[PhaseEvent, Phase]] = {
    Phase.PENDING: {PhaseEvent.START: Phase.STARTING, PhaseEvent.STOP: Phase.STOPPED},
    Phase.STARTING: {
        PhaseEvent.READY: Phase.READY,
        PhaseEvent.EXIT: Phase.BACKOFF,
        PhaseEvent.STOP: Phase.STOPPING,
    },
    Phase.READY: {PhaseEvent.EXIT: Phase.BACKOFF, PhaseEvent.STOP: Phase.STOPPING},
    Phase.BACKOFF: {PhaseEvent.START: Phase.STARTING, PhaseEvent.STOP: Phase.STOPPED},
    Phase.STOPPING: {PhaseEvent.EXIT: Phase.STOPPED, PhaseEvent.READY: Phase.STOPPING},
    Phase.STOPPED: {PhaseEvent.START: Phase.STARTING, PhaseEvent.STOP: Phase.STOPPED},
}


def follow(phase: Phase, event: PhaseEvent) -> Phase:
    """The phase after an event.

    Raises:
        ValueError: The event cannot happen in this phase, which is a bug of the caller.
    """
    try:
        return TRANSITIONS[phase][event]
    except KeyError:
        raise ValueError(f"a child that is {phase} cannot {event}") from None
