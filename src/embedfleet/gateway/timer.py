"""The gateway's clock: a regular tick, and an alarm for times in between.

After a process stood still (stopped, short of CPU time, or busy for long), everything seems late, while the answers lie
unread in its sockets. So the first call after a standstill only reports its length; then the answers are read.
"""

import asyncio
from collections.abc import Callable
from math import inf
from typing import Final

from embedfleet.gateway.dispatch.dispatcher import TICK_S

_LEAST_TIMER_S: Final = 0.001  # the event loop's timers have a resolution of milliseconds, and may fire early
_STILL_S: Final = 0.1  # a tick that comes more than this too late shows that the process stood still


class Timer:
    """Calls functions on every tick and when the alarm is due.

    Args:
        on_tick: Function that is called with the time on every tick.
        on_alarm: Function that is called with the time when the alarm is due.
        on_standstill: Function that is called instead of either after a standstill, with its length in seconds.

    Attributes:
        alarm_at: Time of the alarm; infinite if none is set.
    """

    def __init__(
        self,
        on_tick: Callable[[float], None],
        on_alarm: Callable[[float], None],
        on_standstill: Callable[[float], None],
    ) -> None:
        self.alarm_at = inf
        self._on_tick = on_tick
        self._on_alarm = on_alarm
        self._on_standstill = on_standstill
        self._loop = asyncio.get_running_loop()
        self._ticking: asyncio.TimerHandle | None = None
        self._alarm: asyncio.TimerHandle | None = None
        self._seen_at = self._loop.time()
        self._has_just_stood = False

    def start(self) -> None:
        """Tick now, and then at regular intervals."""
        self._ticking = self._loop.call_later(TICK_S, self._tick)
        self._seen_at = self._loop.time()
        self._on_tick(self._seen_at)

    def stop(self) -> None:
        """Stop ticking, and drop the alarm."""
        for handle in (self._ticking, self._alarm):
            if handle is not None:
                handle.cancel()

    def set_alarm(self, at: float) -> None:
        """Set the alarm, in place of an earlier one."""
        if self._alarm is not None:
            self._alarm.cancel()
        self.alarm_at = at
        self._alarm = self._loop.call_at(max(at, self._loop.time() + _LEAST_TIMER_S), self._wake)

    def _tick(self) -> None:
        self._ticking = self._loop.call_later(TICK_S, self._tick)  # first, so that an exception does not end the ticks
        now = self._loop.time()
        if not self._stood_still(now):
            self._on_tick(now)

    def _wake(self) -> None:
        self._alarm, self.alarm_at = None, inf
        now = self._loop.time()
        if self._stood_still(now):
            self.set_alarm(now)
        else:
            self._on_alarm(now)

    def _stood_still(self, now: float) -> bool:
        """Return whether the process stood still until now; if so, report it.

        It is never true twice in a row, because a process that is always late would otherwise never act.
        """
        late_s, self._seen_at = now - self._seen_at - TICK_S, now
        self._has_just_stood = late_s > _STILL_S and not self._has_just_stood
        if self._has_just_stood:
            self._on_standstill(late_s)
        return self._has_just_stood
