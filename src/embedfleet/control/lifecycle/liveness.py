"""Decides whether a child hangs, from its answers and the activity of its processes.

A child is asked continually, and any answer proves that it lives. Silence alone does not prove that it hangs, because
a busy child answers late. So silence has three bounds: while a process of the child is stopped, while all its processes
are idle, and while they work. A process works if it uses the CPU, waits for a core, reads files or waits for a disk.

Time in which this process itself did not run does not count.
"""

from dataclasses import dataclass, replace
from math import inf

from embedfleet.control.lifecycle.phase import Phase

LATE_S = 0.5
"""Lateness of an observation, in seconds, beyond which this process itself did not run."""
SUSPECT_S = 2.0
"""Silence, in seconds, after which a child no longer counts as serving."""
_ENDING_S = 4.0
_IDLE_SHARE = 0.02  # share of a core; a process that uses less only polls a clock
_IDLE_CPU_S = 0.02  # two ticks of the kernel's clock
_IDLE_BYTES = 65_536


@dataclass(frozen=True, slots=True)
class Activity:
    """Work of a child's processes since they began, as the system reports it at one moment.

    Attributes:
        cpu_s: CPU time that all of them have used since they began, in seconds.
        bytes_read: Bytes that all of them have read since they began.
        is_stopped: Whether a signal has stopped one of them. A process that a debugger holds counts as idle instead,
            because it may still answer.
        is_busy: Whether one of their threads runs, waits for a core, or waits for a disk.
    """

    cpu_s: float
    bytes_read: int
    is_stopped: bool
    is_busy: bool


@dataclass(frozen=True, slots=True)
class Observation:
    """One observation of a child.

    Attributes:
        planned_s: Planned time since the previous observation, in seconds.
        elapsed_s: Real time since the previous observation, in seconds.
        answered: Whether the child has answered in that time; None if it could not be asked.
        activity: Work of its processes; None where the system cannot tell.
    """

    planned_s: float
    elapsed_s: float
    answered: bool | None
    activity: Activity | None


@dataclass(frozen=True, slots=True)
class Bounds:
    """Lengths of silence, in seconds, at which a child counts as hung.

    Attributes:
        stopped_s: Bound while one of its processes is stopped, in seconds.
        idle_s: Bound while it is idle, in seconds.
        working_s: Bound while it works or its activity is unknown, in seconds.
    """

    stopped_s: float = inf
    idle_s: float = inf
    working_s: float = inf


def bounds(phase: Phase, hung_after_s: float) -> Bounds:
    """Return the bounds of a child's silence in a phase of its life.

    A child that loads is not asked, and may wait for slow storage without a sign of life. A silent child that has
    the order to end will not end by itself, and gets only a moment.

    Args:
        phase: Phase of the child.
        hung_after_s: Bound for a silent, idle child that serves, in seconds; 0 for no bound.
    """
    match phase:
        case Phase.STOPPING:
            return Bounds(_ENDING_S, _ENDING_S, 3 * _ENDING_S)
        case _ if not hung_after_s:
            return Bounds()
        case Phase.STARTING:
            return Bounds(hung_after_s, 6 * hung_after_s, inf)
        case Phase.READY:
            return Bounds(hung_after_s, hung_after_s, 6 * hung_after_s)
        case _:
            return Bounds()


@dataclass(frozen=True, slots=True)
class Silence:
    """Silence of a child up to now.

    Attributes:
        silent_s: Time since its last answer, in seconds.
        idle_s: Time up to now in which it was idle, in seconds.
        stopped_s: Time up to now in which one of its processes was stopped, in seconds.
        idle_from: Activity of its processes when it became idle.
        was_late: Whether the last observation came late.
    """

    silent_s: float = 0.0
    idle_s: float = 0.0
    stopped_s: float = 0.0
    idle_from: Activity | None = None
    was_late: bool = False

    def after(self, seen: Observation) -> "Silence":
        """Return the silence after a further observation."""
        is_late = seen.elapsed_s > seen.planned_s + LATE_S and not self.was_late
        # After a second late observation in a row, this process is slow, but it runs: the time counts.
        counted_s = 0.0 if is_late else min(seen.elapsed_s, seen.planned_s + LATE_S)
        is_stopped = seen.activity is not None and seen.activity.is_stopped
        stopped_s = self.stopped_s + counted_s if is_stopped else 0.0
        if seen.answered:
            return Silence(stopped_s=stopped_s, was_late=is_late)
        silent = self if seen.answered is None else self._longer(seen.activity, counted_s)
        return replace(silent, stopped_s=stopped_s, was_late=is_late)

    def _longer(self, activity: Activity | None, counted_s: float) -> "Silence":
        return replace(self._with_idle_time(activity, counted_s), silent_s=self.silent_s + counted_s)

    def _with_idle_time(self, activity: Activity | None, counted_s: float) -> "Silence":
        if activity is None:
            return replace(self, idle_s=0.0, idle_from=None)
        if self.idle_from is None:
            return replace(self, idle_s=0.0, idle_from=activity)
        idle_s = self.idle_s + counted_s
        is_idle = activity.is_stopped or not (activity.is_busy or _worked(self.idle_from, activity, idle_s))
        return replace(self, idle_s=idle_s) if is_idle else replace(self, idle_s=0.0, idle_from=activity)

    @property
    def fault(self) -> str:
        """Fault of a child that has been silent or stopped for a while; empty if it has not."""
        return self.reason if max(self.silent_s, self.stopped_s) >= SUSPECT_S else ""

    def is_hung(self, bounds: Bounds) -> bool:
        """Whether the silence has reached one of its bounds."""
        return self.stopped_s >= bounds.stopped_s or self.idle_s >= bounds.idle_s or self.silent_s >= bounds.working_s

    @property
    def reason(self) -> str:
        """The silence in words."""
        if self.stopped_s:
            return f"one of its processes has been stopped for {self.stopped_s:.0f} s, as by SIGSTOP"
        does = "does nothing" if self.idle_s else "works"
        return f"no answer for {self.silent_s:.0f} s, while it {does}"


def _worked(before: Activity, now: Activity, over_s: float) -> bool:
    """Whether the processes did more than waiting processes do."""
    return (
        now.cpu_s - before.cpu_s > max(_IDLE_CPU_S, _IDLE_SHARE * over_s)
        or abs(now.bytes_read - before.bytes_read) > _IDLE_BYTES
        or now.cpu_s < before.cpu_s  # one of them has ended
    )
