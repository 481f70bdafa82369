"""Decides which children to start and stop, from those that should run and those that do; it has no clock."""

from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace

from embedfleet.control.lifecycle.phase import Phase, PhaseEvent, follow


@dataclass(frozen=True, slots=True)
class Backoff:
    """Waits before a child that died is started again.

    Attributes:
        first_s: Wait after the first death, in seconds; it doubles with each further death.
        longest_s: Longest wait, in seconds.
        stable_s: Time for which a child must have been ready so that its count of deaths starts again, in seconds.
    """

    first_s: float = 0.5
    longest_s: float = 30.0
    stable_s: float = 60.0

    def wait_s(self, deaths: int) -> float:
        """Return the wait after this many deaths in a row, in seconds."""
        return float(min(self.longest_s, self.first_s * 2.0 ** min(deaths - 1, 30)))


@dataclass(frozen=True, slots=True)
class Observed:
    """Phase and history of a child.

    Attributes:
        phase: Its phase.
        since: Time when it entered that phase, in seconds.
        deaths: Number of deaths in a row.
        restarts: Number of all restarts.
    """

    phase: Phase = Phase.PENDING
    since: float = 0.0
    deaths: int = 0
    restarts: int = 0

    def after(self, event: PhaseEvent, now: float, backoff: Backoff) -> "Observed":
        """Return the phase and history after an event."""
        phase = follow(self.phase, event)
        deaths = self.deaths
        if event is PhaseEvent.EXIT and phase is Phase.BACKOFF:
            was_stable = self.phase is Phase.READY and now - self.since >= backoff.stable_s
            deaths = 1 if was_stable else deaths + 1
        restarted = event is PhaseEvent.START and self.phase is Phase.BACKOFF
        return replace(self, phase=phase, since=now, deaths=deaths, restarts=self.restarts + restarted)


@dataclass(frozen=True, slots=True)
class Start:
    """Order to start a child."""

    name: str


@dataclass(frozen=True, slots=True)
class Stop:
    """Order to end a child."""

    name: str


def reconcile(
    wanted: AbstractSet[str], observed: Mapping[str, Observed], now: float, backoff: Backoff
) -> Iterator[Start | Stop]:
    """Yield the orders that lead from the observed children to the wanted ones; none if they match.

    Args:
        wanted: Names of the children that should run.
        observed: Every known child, wanted or not, by name.
        now: Current time, in seconds.
        backoff: Waits between restarts.
    """
    for name, child in observed.items():
        if name not in wanted:
            if child.phase in {Phase.STARTING, Phase.READY, Phase.BACKOFF, Phase.PENDING}:
                yield Stop(name)
        elif child.phase in {Phase.PENDING, Phase.STOPPED} or (
            child.phase is Phase.BACKOFF and now >= due_at(child, backoff)
        ):
            yield Start(name)


def due_at(child: Observed, backoff: Backoff) -> float:
    """Return the time at which to start a child that is in backoff, in seconds."""
    return child.since + backoff.wait_s(child.deaths)


def next_due(observed: Mapping[str, Observed], backoff: Backoff) -> float | None:
    """Return the time at which to start the next child in backoff, in seconds; None if there is none."""
    waiting = [due_at(child, backoff) for child in observed.values() if child.phase is Phase.BACKOFF]
    return min(waiting, default=None)
