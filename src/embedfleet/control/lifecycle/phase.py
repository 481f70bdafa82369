"""The life of a child process, as a table."""

from enum import StrEnum


class Phase(StrEnum):
    """Where a child is in its life."""

    PENDING = "pending"  # never started
    STARTING = "starting"  # runs, loads
    READY = "ready"  # listens
    BACKOFF = "backoff"  # died; is started again after a wait
    STOPPING = "stopping"  # told to end
    STOPPED = "stopped"  # ended as told


class PhaseEvent(StrEnum):
    """What happens to a child."""

    START = "start"
    READY = "ready"
    EXIT = "exit"
    STOP = "stop"


TRANSITIONS: dict[Phase, dict[PhaseEvent, Phase]] = {
    Phase.PENDING: {PhaseEvent.START: Phase.STARTING, PhaseEvent.STOP: Phase.STOPPED},
    Phase.STARTING: {PhaseEvent.READY: Phase.READY, PhaseEvent.EXIT: Phase.BACKOFF, PhaseEvent.STOP: Phase.STOPPING},
    Phase.READY: {PhaseEvent.EXIT: Phase.BACKOFF, PhaseEvent.STOP: Phase.STOPPING},
    Phase.BACKOFF: {PhaseEvent.START: Phase.STARTING, PhaseEvent.STOP: Phase.STOPPED},
    Phase.STOPPING: {PhaseEvent.EXIT: Phase.STOPPED, PhaseEvent.READY: Phase.STOPPING},
    Phase.STOPPED: {PhaseEvent.START: Phase.STARTING, PhaseEvent.STOP: Phase.STOPPED},
}


def follow(phase: Phase, event: PhaseEvent) -> Phase:
    """The phase after an event; an event that cannot happen in a phase is an error of ours.

    Raises:
        ValueError: it is not in the table.
    """
    try:
        return TRANSITIONS[phase][event]
    except KeyError:
        raise ValueError(f"a child that is {phase} cannot {event}") from None
