"""Looks at a child as long as it runs: asks it all the time, and tells when it hangs."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress

from embedfleet.control.drivers.base import Running
from embedfleet.control.lifecycle.liveness import Observation, Silence, bounds
from embedfleet.control.lifecycle.phase import Phase
from embedfleet.errors import Starved, TimedOut, UpstreamError

log = logging.getLogger(__name__)

_PERIOD_S = 0.5  # of looks


class Watchdog:
    """One life of a child.

    Args:
        running: the child.
        phase: tells where it is in its life.
        ask: puts a question to it, and returns once it answers; see `LivenessCheck.put`. Called once it is ready.
        hung_after_s: bound of its silence, see `liveness.bounds`.
        hung: told why, when it hangs; again if it is there still after the same time.
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
        self._life = Silence()
        self._question: asyncio.Task[bool | None] | None = None

    @property
    def complaint(self) -> str:
        """Why it cannot be said to serve; empty if it answers."""
        return self._running.held or self._life.complaint

    async def watch(self) -> None:
        """Until the child has ended."""
        loop = asyncio.get_running_loop()
        try:
            before, phase = loop.time(), self._phase()
            while not await self._has_ended():
                now, former, phase = loop.time(), phase, self._phase()
                if self._running.held or (phase is Phase.READY and former is not phase):  # it begins to be asked
                    self._life = Silence()
                self._judge(phase, Observation(_PERIOD_S, now - before, self._answered(), self._running.activity()))
                before = now
        finally:
            if self._question is not None:
                self._question.cancel()

    async def _has_ended(self) -> bool:
        """Whether it has ended within a period."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_PERIOD_S):
                await asyncio.shield(self._running.ended)
        return self._running.ended.done()

    def _judge(self, phase: Phase, look: Observation) -> None:
        self._life = self._life.after(look)
        if self._life.is_hung(bounds(phase, self._hung_after_s)):
            reason, self._life = self._life.reason, Silence()
            self._hung(reason)

    def _answered(self) -> bool | None:
        """Whether it has answered since it was asked; then it is asked anew."""
        answered: bool | None = False
        if self._question is not None and self._question.done():
            answered, self._question = self._question.result(), None
        if self._question is None and self._running.ready.done():
            self._question = asyncio.get_running_loop().create_task(self._put())
        return answered

    async def _put(self) -> bool | None:
        try:
            await self._ask()
        except TimedOut:
            return False
        except Starved:
            return None
        except UpstreamError:  # nobody listens, or what comes back is no reply: that is a fault, and no silence
            return True
        except Exception:  # a question that ends without a word would never be put again
            log.exception("a child cannot be asked")
            return None
        return True
