"""What befalls replicas in a run, and when."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from bench.simulation.clock import Clock
from bench.simulation.replica import SimReplica

FaultKind = Literal["stop", "crash", "throttle"]


@dataclass(frozen=True, slots=True)
class Fault:
    """One, or one after the other.

    Attributes:
        kind: ``stop``: stands still; ``crash``: dies and is away; ``throttle``: answers 429.
        at_s: since the start.
        lasts_s: how long.
        replica: which; counted round, so that a repeated fault meets one after the other.
        every_s: repeated so often until the end; 0 for once.
    """

    kind: FaultKind
    at_s: float
    lasts_s: float
    replica: int = 0
    every_s: float = 0.0


def strike(clock: Clock, replicas: Sequence[SimReplica], faults: Iterable[Fault], seconds: float) -> None:
    """Arrange for all of them.

    Args:
        clock: of the simulation, at its start.
        replicas: that they befall.
        faults: which.
        seconds: that the simulation takes.
    """
    for fault in faults:
        times = 1 if not fault.every_s else max(0, int((seconds - fault.at_s) // fault.every_s) + 1)
        for time in range(times):
            replica = replicas[(fault.replica + time) % len(replicas)]
            clock.at(clock.now + fault.at_s + time * fault.every_s, lambda fault=fault, one=replica: befall(one, fault))  # type: ignore[misc]


def befall(replica: SimReplica, fault: Fault) -> None:
    """Now."""
    match fault.kind:
        case "stop":
            replica.stop(fault.lasts_s)
        case "crash":
            replica.crash(fault.lasts_s)
        case "throttle":
            replica.throttle(fault.lasts_s)
