"""Faults of simulated replicas."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

from embedfleet.simulation.clock import Clock
from embedfleet.simulation.replica import SimReplica

FaultKind = Literal["stop", "crash", "throttle"]


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault that happens once or repeatedly.

    Attributes:
        kind: ``stop`` (the process stands still), ``crash`` (it dies and returns later) or ``throttle`` (it answers
            429).
        at_s: Time of the first occurrence, in seconds since the start of the arrivals.
        lasts_s: Length of each occurrence, in seconds.
        replica: Number of the first affected replica; a repeated fault affects one replica after the other.
        every_s: Seconds between occurrences, until the end of the run; 0 for a single one.
    """

    kind: FaultKind
    at_s: float
    lasts_s: float
    replica: int = 0
    every_s: float = 0.0


def strike(clock: Clock, replicas: Sequence[SimReplica], faults: Iterable[Fault], seconds: float) -> None:
    """Schedule faults.

    Args:
        clock: Clock at the start of the arrivals.
        replicas: Replicas that the faults affect.
        faults: Faults to schedule.
        seconds: Length of the arrivals, in seconds.
    """
    for fault in faults:
        times = 1 if not fault.every_s else max(0, int((seconds - fault.at_s) // fault.every_s) + 1)
        for time in range(times):
            replica = replicas[(fault.replica + time) % len(replicas)]
            clock.at(clock.now + fault.at_s + time * fault.every_s, partial(start_fault, replica, fault))


def start_fault(replica: SimReplica, fault: Fault) -> None:
    """Start a fault now."""
    match fault.kind:
        case "stop":
            replica.stop(fault.lasts_s)
        case "crash":
            replica.crash(fault.lasts_s)
        case "throttle":
            replica.throttle(fault.lasts_s)
