"""The gateway's clock: a regular tick, and an alarm in between.

A process that stood still (stopped, starved, or busy for long) finds that everything is late, while the answers lie
unread in its sockets. So the first call after that judges nothing: it reports how long that was, and then the answers
are read.
"""

import asyncio
from collections.abc import Callable
from math import inf
from typing import Final

from embedfleet.gateway.dispatch.dispatcher import TICK_S

_LEAST_TIMER_S: Final = 0.001  # the event loop's timers count milliseconds, and may fire early
_STILL_S: Final = 0.1  # a tick that is late by more means that nothing was read for so long


class Timer:
    """Calls back on every tick and when the alarm rings.

    Args:
        on_tick: Called with the time on every tick.
        on_alarm: Called with the time when the alarm rings.
        on_standstill: Called instead of either, with the seconds in which nothing was done.

    Attributes:
        alarm_at: Time at which the alarm rings; infinite if none is set.
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
        """Tick now and regularly from now on."""
        self._ticking = self._loop.call_later(TICK_S, self._tick)
        self._seen_at = self._loop.time()
        self._on_tick(self._seen_at)

    def stop(self) -> None:
        """Tick no more, and drop the alarm."""
        for handle in (self._ticking, self._alarm):
            if handle is not None:
                handle.cancel()

    def set_alarm(self, at: float) -> None:
        """Set the alarm, in the place of the one that was set before."""
        if self._alarm is not None:
            self._alarm.cancel()
        self.alarm_at = at
        self._alarm = self._loop.call_at(max(at, self._loop.time() + _LEAST_TIMER_S), self._wake)

    def _tick(self) -> None:
        self._ticking = self._loop.call_later(TICK_S, self._tick)  # first, so that no exception ends the ticking
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
        """Return whether nothing was done for long, and report it.

        This is never so twice in a row: a process that is always late would otherwise never do anything.
        """
        late_s, self._seen_at = now - self._seen_at - TICK_S, now
        self._has_just_stood = late_s > _STILL_S and not self._has_just_stood
        if self._has_just_stood:
            self._on_standstill(late_s)
        return self._has_just_stood
