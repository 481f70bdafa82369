"""What the gateway does by the clock: a round every tick, and an alarm in between.

A process that stood still (stopped, starved, or at work for long) finds that everything is late, while the answers lie
unread in its sockets. So the first call after that judges nothing: it says how long that was, and what came is read.
"""

import asyncio
from collections.abc import Callable
from math import inf
from typing import Final

from embedfleet.gateway.dispatch.dispatcher import TICK_S

_LEAST_TIMER_S: Final = 0.001  # the event loop's timers count milliseconds, and may come early
_STILL_S: Final = 0.1  # a round that is late by more: nothing was read for so long


class Rounds:
    """See the module.

    Args:
        go: makes a round, at the time given.
        ring: is called when the alarm rings, likewise.
        stood_still: is called instead of either, with the seconds for which nothing was done.

    Attributes:
        alarm_at: when the alarm rings; infinite if none is set.
    """

    def __init__(
        self, go: Callable[[float], None], ring: Callable[[float], None], stood_still: Callable[[float], None]
    ) -> None:
        self.alarm_at = inf
        self._go = go
        self._ring = ring
        self._stood_still = stood_still
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._alarm: asyncio.TimerHandle | None = None
        self._seen_at = self._loop.time()
        self._has_just_stood = False

    def start(self) -> None:
        """Make the first round now."""
        self._timer = self._loop.call_later(TICK_S, self._tick)
        self._seen_at = self._loop.time()
        self._go(self._seen_at)

    def stop(self) -> None:
        """Make no more."""
        for timer in (self._timer, self._alarm):
            if timer is not None:
                timer.cancel()

    def set_alarm(self, at: float) -> None:
        """Ring then; what was set for later is dropped."""
        if self._alarm is not None:
            self._alarm.cancel()
        self.alarm_at = at
        self._alarm = self._loop.call_at(max(at, self._loop.time() + _LEAST_TIMER_S), self._wake)

    def _tick(self) -> None:
        self._timer = self._loop.call_later(TICK_S, self._tick)  # whatever comes of this one
        now = self._loop.time()
        if not self._is_late(now):
            self._go(now)

    def _wake(self) -> None:
        self._alarm, self.alarm_at = None, inf
        now = self._loop.time()
        if self._is_late(now):
            self.set_alarm(now)
        else:
            self._ring(now)

    def _is_late(self, now: float) -> bool:
        """Whether nothing was done for long, which is said; never twice in a row, or who is always late did nothing."""
        late_s, self._seen_at = now - self._seen_at - TICK_S, now
        self._has_just_stood = late_s > _STILL_S and not self._has_just_stood
        if self._has_just_stood:
            self._stood_still(late_s)
        return self._has_just_stood
