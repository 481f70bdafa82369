"""The fake device: one batch runs, one is formed ahead, and each takes the time of the cost model."""

import asyncio
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from bench.fake_tei.queue import Entry, Queue
from embedfleet.load.alarm import Alarm
from embedfleet.simulation.batch_cost import BatchCost

# A batch whose end is noticed later than this was not delayed by jitter: the process stood still.
_STOOD_STILL_S = 0.05


@dataclass(slots=True, eq=False)
class Batch:
    """Texts that run together, from ``started_at`` to ``ends_at`` (monotonic seconds; 0 before the start)."""

    entries: list[Entry]
    seconds: float
    started_at: float = 0.0
    ends_at: float = 0.0


class Device:
    """A device that runs the texts of a queue.

    Args:
        queue: Queue from which batches are formed.
        cost: Cost of a batch.
        done: Callback with each batch that has ended.
        ahead: Whether one batch is formed while another runs, as TEI does.

    Attributes:
        slowness: Factor on the time of batches that are formed from now on.
        late_s: Delay with which the end of each batch was noticed, in seconds.
        busy_s: Time of the batches that have ended, in seconds.
    """

    def __init__(self, queue: Queue, cost: BatchCost, done: Callable[[Batch], None], *, ahead: bool = True) -> None:
        self.slowness = 1.0
        self.late_s: list[float] = []
        self.busy_s = 0.0
        self._loop = asyncio.get_running_loop()
        self._queue = queue
        self._cost = cost
        self._done = done
        self._ahead = ahead
        self._running: Batch | None = None
        self._formed: Batch | None = None
        self._alarm = Alarm(self._end)
        self._held_since: float | None = None
        self._release: asyncio.TimerHandle | None = None
        self._waiting: list[Callable[[], None]] = []

    @property
    def held(self) -> bool:
        """Whether the device stands still."""
        return self._held_since is not None

    def look(self) -> None:
        """Start and form batches as far as possible now; called after texts were queued."""
        if self._running is None:
            self._form()
            self._start(time.monotonic())
        if self._formed is None and self._ahead:
            self._form()

    def after_batch(self, call: Callable[[], None]) -> None:
        """Call a function after the running batch, or at once if none runs and the device does not stand still."""
        if self._running is None and not self.held:
            call()
        else:
            self._waiting.append(call)

    def hold(self, seconds: float = math.inf) -> None:
        """Stand still for some time or until `release`; the running batch goes on after that."""
        if self._release is not None:
            self._release.cancel()
            self._release = None
        if not self.held:
            self._held_since = time.monotonic()
            self._alarm.cancel()
        if seconds < math.inf:
            self._release = self._loop.call_later(seconds, self.release)

    def release(self) -> None:
        """Go on after `hold`."""
        if self._release is not None:
            self._release.cancel()
            self._release = None
        if self._held_since is None:
            return
        lost = time.monotonic() - self._held_since
        self._held_since = None
        if self._running is not None:
            self._running.ends_at += lost
            self._alarm.set(self._running.ends_at)
        else:
            self._ready()

    def clear(self) -> None:
        """Drop all batches."""
        self._alarm.cancel()
        self._running = self._formed = None
        self._waiting.clear()

    def close(self) -> None:
        """Drop all batches and release the timer."""
        self.clear()
        self.release()
        self._alarm.close()

    def _form(self) -> None:
        if self._formed is None and (entries := self._queue.next_batch()):
            seconds = self._cost.seconds([entry.tokens for entry in entries]) * self.slowness
            self._formed = Batch(entries, seconds)

    def _start(self, at: float) -> None:
        if self._formed is None or self.held:
            return
        batch, self._formed = self._formed, None
        batch.started_at, batch.ends_at = at, at + batch.seconds
        self._running = batch
        self._alarm.set(batch.ends_at)

    def _end(self) -> None:
        batch, self._running = self._running, None
        assert batch is not None
        now = time.monotonic()
        late = now - batch.ends_at
        self.late_s.append(late)
        self.busy_s += batch.seconds
        # The next batch begins when this one ended, not when that was noticed; otherwise jitter would add up.
        self._start(batch.ends_at if late < _STOOD_STILL_S else now)
        self._done(batch)
        self._ready()

    def _ready(self) -> None:
        waiting, self._waiting = self._waiting, []
        for call in waiting:
            call()
        self.look()
