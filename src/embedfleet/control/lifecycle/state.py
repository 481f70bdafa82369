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


class Event(StrEnum):
    """What happens to a child."""

    START = "start"
    READY = "ready"
    EXIT = "exit"
    STOP = "stop"


TRANSITIONS: dict[Phase, dict[Event, Phase]] = {
    Phase.PENDING: {Event.START: Phase.STARTING, Event.STOP: Phase.STOPPED},
    Phase.STARTING: {Event.READY: Phase.READY, Event.EXIT: Phase.BACKOFF, Event.STOP: Phase.STOPPING},
    Phase.READY: {Event.EXIT: Phase.BACKOFF, Event.STOP: Phase.STOPPING},
    Phase.BACKOFF: {Event.START: Phase.STARTING, Event.STOP: Phase.STOPPED},
    Phase.STOPPING: {Event.EXIT: Phase.STOPPED, Event.READY: Phase.STOPPING},
    Phase.STOPPED: {Event.START: Phase.STARTING, Event.STOP: Phase.STOPPED},
}


def follow(phase: Phase, event: Event) -> Phase:
    """The phase after an event; an event that cannot happen in a phase is an error of ours.

    Raises:
        ValueError: it is not in the table.
    """
    try:
        return TRANSITIONS[phase][event]
    except KeyError:
        raise ValueError(f"a child that is {phase} cannot {event}") from None
