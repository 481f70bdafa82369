"""From what is wanted and what is there to what must be done: pure, so that restarts can be tested without waiting."""

from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace

from embedfleet.control.lifecycle.phase import Phase, PhaseEvent, follow


@dataclass(frozen=True, slots=True)
class Backoff:
    """How soon a child that died is started again.

    Attributes:
        first_s: after the first death; doubled after each further one.
        longest_s: at most.
        stable_s: a child that was ready for so long has earned a fresh count.
    """

    first_s: float = 0.5
    longest_s: float = 30.0
    stable_s: float = 60.0

    def wait_s(self, deaths: int) -> float:
        """The wait after that many deaths in a row."""
        return float(min(self.longest_s, self.first_s * 2.0 ** min(deaths - 1, 30)))


@dataclass(frozen=True, slots=True)
class Observed:
    """A child as it is.

    Attributes:
        since: when it entered its phase.
        deaths: in a row.
        restarts: ever.
    """

    phase: Phase = Phase.PENDING
    since: float = 0.0
    deaths: int = 0
    restarts: int = 0

    def after(self, event: PhaseEvent, now: float, backoff: Backoff) -> "Observed":
        """The child after an event."""
        phase = follow(self.phase, event)
        deaths = self.deaths
        if event is PhaseEvent.EXIT and phase is Phase.BACKOFF:
            was_stable = self.phase is Phase.READY and now - self.since >= backoff.stable_s
            deaths = 1 if was_stable else deaths + 1
        restarted = event is PhaseEvent.START and self.phase is Phase.BACKOFF
        return replace(self, phase=phase, since=now, deaths=deaths, restarts=self.restarts + restarted)


@dataclass(frozen=True, slots=True)
class Start:
    """Start the child."""

    name: str


@dataclass(frozen=True, slots=True)
class Stop:
    """Tell the child to end."""

    name: str


def reconcile(
    wanted: AbstractSet[str], observed: Mapping[str, Observed], now: float, backoff: Backoff
) -> Iterator[Start | Stop]:
    """What brings the children that are there to those that are wanted; nothing once they are the same.

    Args:
        wanted: names of the children that should run.
        observed: every child that is known, wanted or not.
        now: in seconds.
        backoff: the waits.
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
    """When a child in backoff is to be started."""
    return child.since + backoff.wait_s(child.deaths)


def next_due(observed: Mapping[str, Observed], backoff: Backoff) -> float | None:
    """When `reconcile` next has something to do by the clock alone, or None."""
    waiting = [due_at(child, backoff) for child in observed.values() if child.phase is Phase.BACKOFF]
    return min(waiting, default=None)
