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
        kind: ``stop`` (the process stands still), ``crash`` (it dies and is away) or ``throttle`` (it answers 429).
        at_s: Time of the first, in seconds since the start of the arrivals.
        lasts_s: Length, in seconds.
        replica: Number of the first replica hit; a repeated fault hits one replica after the other.
        every_s: Seconds from one to the next until the end of the run; 0 for once.
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
        replicas: Replicas to hit.
        faults: Faults to schedule.
        seconds: How long requests arrive.
    """
    for fault in faults:
        times = 1 if not fault.every_s else max(0, int((seconds - fault.at_s) // fault.every_s) + 1)
        for time in range(times):
            replica = replicas[(fault.replica + time) % len(replicas)]
            clock.at(clock.now + fault.at_s + time * fault.every_s, partial(start_fault, replica, fault))


def start_fault(replica: SimReplica, fault: Fault) -> None:
    """Let a fault begin now."""
    match fault.kind:
        case "stop":
            replica.stop(fault.lasts_s)
        case "crash":
            replica.crash(fault.lasts_s)
        case "throttle":
            replica.throttle(fault.lasts_s)
