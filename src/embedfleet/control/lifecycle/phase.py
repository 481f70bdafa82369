"""Phases of a child's life, and a table of the events that lead from one to the next."""

from enum import StrEnum


class Phase(StrEnum):
    """Phase of a child's life."""

    PENDING = "pending"  # never started
    STARTING = "starting"  # runs, but does not listen yet
    READY = "ready"  # listens
    BACKOFF = "backoff"  # has ended; is started again after a wait
    STOPPING = "stopping"  # has the order to end, and has not ended yet
    STOPPED = "stopped"  # has ended on order


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
    """Return the phase after an event.

    Raises:
        ValueError: The event cannot happen in this phase, which is a bug of the caller.
    """
    try:
        return TRANSITIONS[phase][event]
    except KeyError:
        raise ValueError(f"a child that is {phase} cannot {event}") from None
