"""Observation of a child while it runs: it is asked continually, and a hang is reported."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress

from embedfleet.control.drivers.base import Running
from embedfleet.control.lifecycle.liveness import Observation, Silence, bounds
from embedfleet.control.lifecycle.phase import Phase
from embedfleet.errors import Starved, TimedOut, UpstreamError

log = logging.getLogger(__name__)

_PERIOD_S = 0.5  # between observations


class Watchdog:
    """Observes one run of a child.

    Args:
        running: Run of the child.
        phase: Function that returns the child's phase.
        ask: Function that returns once the child has answered, such as `LivenessCheck.run`; called only once the child
            is ready.
        hung_after_s: Bound of its silence for `liveness.bounds`, in seconds; 0 for no bound.
        hung: Function that takes the reason when the child hangs; called again if the child still runs after the same
            time.
    """

    def __init__(
        self,
        running: Running,
        *,
        phase: Callable[[], Phase],
        ask: Callable[[], Awaitable[None]],
        hung_after_s: float,
        hung: Callable[[str], None],
    ) -> None:
        self._running = running
        self._phase = phase
        self._ask = ask
        self._hung_after_s = hung_after_s
        self._hung = hung
        self._silence = Silence()
        self._asking: asyncio.Task[bool | None] | None = None

    @property
    def fault(self) -> str:
        """Reason why the child does not count as serving; empty if it answers."""
        return self._running.pause_reason or self._silence.fault

    async def watch(self) -> None:
        """Observe the child until it has ended."""
        loop = asyncio.get_running_loop()
        try:
            before, phase = loop.time(), self._phase()
            while not await self._has_ended():
                now, former, phase = loop.time(), phase, self._phase()
                if self._running.pause_reason or (
                    phase is Phase.READY and former is not phase
                ):  # its silence counts from here
                    self._silence = Silence()
                self._judge(phase, Observation(_PERIOD_S, now - before, self._answered(), self._running.activity()))
                before = now
        finally:
            if self._asking is not None:
                self._asking.cancel()

    async def _has_ended(self) -> bool:
        """Wait for one period; return whether the child has ended."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_PERIOD_S):
                await asyncio.shield(self._running.ended)
        return self._running.ended.done()

    def _judge(self, phase: Phase, seen: Observation) -> None:
        self._silence = self._silence.after(seen)
        if self._silence.is_hung(bounds(phase, self._hung_after_s)):
            reason, self._silence = self._silence.reason, Silence()
            self._hung(reason)

    def _answered(self) -> bool | None:
        """Return whether the child has answered; None if it could not be asked. After an answer, ask it again."""
        answered: bool | None = False
        if self._asking is not None and self._asking.done():
            answered, self._asking = self._asking.result(), None
        if self._asking is None and self._running.ready.done():
            self._asking = asyncio.get_running_loop().create_task(self._ask_once())
        return answered

    async def _ask_once(self) -> bool | None:
        try:
            await self._ask()
        except TimedOut:
            return False
        except Starved:
            return None
        except UpstreamError:  # nothing listens, or the reply is malformed: a fault, but no silence
            return True
        except Exception:  # without this, the child would never be asked again
            log.exception("a child cannot be asked")
            return None
        return True
