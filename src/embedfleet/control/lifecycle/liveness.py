"""Whether a child lives, by its answers and by what it does meanwhile: pure.

A child is asked all the time, and every answer is life. Silence alone is not death: a busy child answers late. So
silence counts in three ways, each with a bound of its own: while a process of the child is stopped, while all of them
do nothing, and while they work. To work is to use the CPU, to want it, to read files or to wait for a disk.

Time in which we stood still ourselves is nobody's silence.
"""

from dataclasses import dataclass, replace
from math import inf

from embedfleet.control.lifecycle.phase import Phase

LATE_S = 0.5
"""A look that comes later than planned by more than this tells that we stood still."""
SUSPECT_S = 2.0
"""A child that has been silent for so long is not said to serve."""
_ENDING_S = 4.0
_IDLE_SHARE = 0.02  # of a core: who uses less does nothing but look at a clock
_IDLE_CPU_S = 0.02  # what two ticks of the kernel's clock say
_IDLE_BYTES = 65_536


@dataclass(frozen=True, slots=True)
class Activity:
    """What the system says of a child's processes at one moment.

    Attributes:
        cpu_s: used by all of them since they began, in seconds.
        bytes_read: by all of them since they began.
        is_stopped: one of them was stopped by a signal; what a debugger holds does nothing, and may go on answering.
        wants: one of their threads runs, waits for a core, or waits for a disk.
    """

    cpu_s: float
    bytes_read: int
    is_stopped: bool
    wants: bool


@dataclass(frozen=True, slots=True)
class Observation:
    """What one look at a child found.

    Attributes:
        planned_s: after the look before, in seconds.
        elapsed_s: since the look before.
        answered: it has answered since; None if we lacked the means to ask.
        activity: None where the system cannot tell.
    """

    planned_s: float
    elapsed_s: float
    answered: bool | None
    activity: Activity | None


@dataclass(frozen=True, slots=True)
class Bounds:
    """How long a child may be silent.

    Attributes:
        stopped_s: with a stopped process.
        idle_s: while it does nothing.
        working_s: while it works, or nobody knows what it does.
    """

    stopped_s: float = inf
    idle_s: float = inf
    working_s: float = inf


def bounds(phase: Phase, hung_after_s: float) -> Bounds:
    """What a child may do in a phase of its life.

    While it loads it is not asked, and may wait for slow storage without a sign. One that is told to end and is silent
    will not end: it gets no more than a moment.

    Args:
        phase: where it is.
        hung_after_s: bound for a child that serves, is silent and does nothing; 0 for never.
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
    """What is known of a child's silence.

    Attributes:
        silent_s: since it answered.
        idle_s: how long of that, up to now, it has done nothing.
        stopped_s: how long, up to now, a process of it has been stopped.
        idle_from: what it had done when it began to do nothing.
        was_late: the look before came late.
    """

    silent_s: float = 0.0
    idle_s: float = 0.0
    stopped_s: float = 0.0
    idle_from: Activity | None = None
    was_late: bool = False

    def after(self, look: Observation) -> "Silence":
        """The child after a look at it."""
        is_late = look.elapsed_s > look.planned_s + LATE_S and not self.was_late
        # Two late looks in a row: we are slow, but we run.
        counted_s = 0.0 if is_late else min(look.elapsed_s, look.planned_s + LATE_S)
        is_stopped = look.activity is not None and look.activity.is_stopped
        stopped_s = self.stopped_s + counted_s if is_stopped else 0.0
        if look.answered:
            return Silence(stopped_s=stopped_s, was_late=is_late)
        silent = self if look.answered is None else self._silent(look.activity, counted_s)
        return replace(silent, stopped_s=stopped_s, was_late=is_late)

    def _silent(self, activity: Activity | None, counted_s: float) -> "Silence":
        return replace(self._idle(activity, counted_s), silent_s=self.silent_s + counted_s)

    def _idle(self, activity: Activity | None, counted_s: float) -> "Silence":
        if activity is None:
            return replace(self, idle_s=0.0, idle_from=None)
        if self.idle_from is None:
            return replace(self, idle_s=0.0, idle_from=activity)
        idle_s = self.idle_s + counted_s
        is_idle = activity.is_stopped or not (activity.wants or _worked(self.idle_from, activity, idle_s))
        return replace(self, idle_s=idle_s) if is_idle else replace(self, idle_s=0.0, idle_from=activity)

    @property
    def complaint(self) -> str:
        """What is wrong with a child that has been silent, or stopped, for a while; empty if it has not."""
        return self.reason if max(self.silent_s, self.stopped_s) >= SUSPECT_S else ""

    def is_hung(self, bounds: Bounds) -> bool:
        """Whether it has been silent for too long."""
        return self.stopped_s >= bounds.stopped_s or self.idle_s >= bounds.idle_s or self.silent_s >= bounds.working_s

    @property
    def reason(self) -> str:
        """What is wrong, in words."""
        if self.stopped_s:
            return f"a process of it has been stopped for {self.stopped_s:.0f} s, as by SIGSTOP"
        does = "does nothing" if self.idle_s else "works"
        return f"no answer for {self.silent_s:.0f} s, while it {does}"


def _worked(before: Activity, now: Activity, over_s: float) -> bool:
    """Whether it did more than a process that waits for ever."""
    return (
        now.cpu_s - before.cpu_s > max(_IDLE_CPU_S, _IDLE_SHARE * over_s)
        or abs(now.bytes_read - before.bytes_read) > _IDLE_BYTES
        or now.cpu_s < before.cpu_s  # a process of it has ended
    )
