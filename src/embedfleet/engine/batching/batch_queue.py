"""The queue of inputs that wait for a forward pass, each distinct input once.

Requests come from event loops, batches go to worker threads. One lock guards the queue, the computations that wait or
run, and the jobs that wait for them.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from embedfleet.arrays import Floats
from embedfleet.engine.batching.cache import Cache
from embedfleet.engine.batching.choosing import BatchLimits, choose_batch
from embedfleet.engine.batching.job import Job
from embedfleet.engine.batching.lingering import Linger
from embedfleet.engine.batching.pass_times import PassTimes
from embedfleet.engine.compute.output import Output
from embedfleet.engine.text.encoded import Encoded
from embedfleet.errors import Backend as BackendError
from embedfleet.metrics import Registry

STOPPING = "Backend error: the engine is stopping"


@dataclass(slots=True)  # making a frozen one takes three times as long
class _Waiter:
    """A job that waits for a computation; nothing changes it.

    Attributes:
        job: Job of the request.
        index: Index of the input in the request.
        since: Arrival of the request, in seconds of `time.perf_counter`.
    """

    job: Job
    index: int
    since: float


@dataclass(eq=False, slots=True)
class Computation:
    """One distinct input to compute, for all jobs that contain it.

    Attributes:
        key: Key of the input and its outputs, equal only for equal computations.
        encoded: Input.
        outputs: Outputs to compute.
        waiters: Jobs that wait for it; only the holder of the queue's lock reads or changes them.
    """

    key: bytes
    encoded: Encoded
    outputs: tuple[Output, ...]
    waiters: list[_Waiter] = field(default_factory=list)

    @property
    def is_awaited(self) -> bool:
        """Whether a job still waits for this computation."""
        return any(not waiter.job.is_gone for waiter in self.waiters)


class BatchQueue:
    """The queue between event loops, which add inputs, and worker threads, which take batches.

    Args:
        limits: Bounds of one batch.
        cache: Cache of outputs; only the holder of the queue's lock uses it.
        times: Times of passes, which decide whether a batch is left to the event loop.
        registry: Metrics of the engine.
    """

    def __init__(self, limits: BatchLimits, cache: Cache, times: PassTimes, registry: Registry) -> None:
        self.times = times
        self._limits = limits
        self._cache = cache
        self._shared = registry["te_shared_inputs"].value()
        self._linger = Linger()
        self._changed = threading.Condition()
        self._waiting: list[Computation] = []
        self._known: dict[bytes, Computation] = {}  # waiting or running
        self._has_worked = False  # whether a pass has ended since the last call of `await_work`
        self._closing = False

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, job: Job, inputs: Sequence[Encoded], keys: Sequence[bytes], outputs: tuple[Output, ...]) -> bool:
        """Queue a job's inputs, and answer those in the cache at once; called in the thread of the job's loop.

        Args:
            job: Job of the request.
            inputs: Inputs of the request.
            keys: Key of each input.
            outputs: Outputs to compute for each input.

        Returns:
            Whether the caller must call `take_short`, in this or the next turn of its loop: a pass of these inputs may
            be short, so no worker was woken for it.

        Raises:
            errors.Backend: The engine is stopping.
        """
        may_be_short = self.times.may_be_short(sum([len(item.ids) for item in inputs]))
        now = time.perf_counter()
        with self._changed:
            if self._closing:
                raise BackendError(STOPPING)
            before, is_complete = len(self._waiting), False
            for index, (encoded, key) in enumerate(zip(inputs, keys, strict=True)):
                output = self._cache.find(key, outputs, encoded)
                if output is None:
                    self._computation(key, encoded, outputs).waiters.append(_Waiter(job, index, now))
                else:
                    is_complete = job.answer(index, output)
            self._linger.arrived(now)
            added = len(self._waiting) - before
            if added and not may_be_short:
                self._changed.notify(added)
        if is_complete:
            job.finish()
        return may_be_short and added > 0

    def await_work(self, seconds: float) -> bool:
        """Wait until an input waits, the queue is closed, or no pass has ended for ``seconds``.

        Returns:
            Whether an input waits or the queue is closed.
        """
        with self._changed:
            self._has_worked = True
            while self._has_worked and not self._waiting and not self._closing:
                self._has_worked = False
                self._changed.wait(seconds)
            return bool(self._waiting) or self._closing

    def take(self) -> list[Computation]:
        """Wait for the next batch and take it; an empty one means that the queue is closed."""
        with self._changed:
            while True:
                self._drop_unawaited()
                if self._closing:
                    return []
                if not self._waiting:
                    self._changed.wait()
                elif not (pause_s := self._linger.wait_s(time.perf_counter())) or self._is_full():
                    break
                else:
                    self._changed.wait(pause_s)
            return self._remove(self._choose())

    def take_short(self) -> list[Computation]:
        """Take the next batch if its pass is short; otherwise wake a worker for it, and return an empty batch."""
        with self._changed:
            self._drop_unawaited()
            if self._closing or not self._waiting:
                return []
            chosen = self._choose()
            if self.times.is_short(sum([len(self._waiting[index].encoded.ids) for index in chosen])):
                return self._remove(chosen)
            self._changed.notify(len(self._waiting))
        return []

    def answer(self, computed: Sequence[tuple[Computation, tuple[Floats, ...]]], started: float) -> None:
        """Deliver the outputs of a pass to all jobs that wait for them.

        Args:
            computed: Computations and their outputs.
            started: Start of the pass, in seconds of `time.perf_counter`.
        """
        ended = time.perf_counter()
        with self._changed:
            self._has_worked = True
            complete = []
            for computation, output in computed:
                self._forget(computation)
                self._cache.keep(computation.key, output, computation.outputs, computation.encoded)
                for waiter in computation.waiters:
                    began = max(started, waiter.since)
                    if waiter.job.answer(
                        waiter.index, output, queue_s=began - waiter.since, inference_s=max(0.0, ended - began)
                    ):
                        complete.append(waiter.job)
            self._linger.ended(len(complete), started, ended)
        _finish(complete)

    def fail(self, batch: Sequence[Computation], error: Exception) -> None:
        """Fail all jobs that wait for an input of a batch."""
        with self._changed:
            failed = self._fail(batch, error)
        _finish(failed)

    def close(self) -> None:
        """Fail the inputs that wait, let running passes end, and hand out no more batches."""
        with self._changed:
            self._closing = True
            left, self._waiting = self._waiting, []
            failed = self._fail(left, BackendError(STOPPING))
            self._changed.notify_all()
        _finish(failed)

    def _choose(self) -> list[int]:
        return choose_batch([len(item.encoded.ids) for item in self._waiting], self._limits)

    def _remove(self, chosen: Sequence[int]) -> list[Computation]:
        """Take inputs out of those that wait."""
        batch = [self._waiting[index] for index in chosen]
        if len(batch) == len(self._waiting):
            self._waiting = []
        else:
            taken = set(chosen)
            self._waiting = [item for index, item in enumerate(self._waiting) if index not in taken]
        return batch

    def _is_full(self) -> bool:
        """Whether the next batch has no room for another input."""
        tokens = sum(len(item.encoded.ids) for item in self._waiting[: self._limits.inputs])
        return len(self._waiting) >= self._limits.inputs or tokens >= self._limits.tokens

    def _computation(self, key: bytes, encoded: Encoded, outputs: tuple[Output, ...]) -> Computation:
        """The computation of a key: a waiting or running one, or a new one that now waits."""
        computation = self._known.get(key)
        if computation is None:
            computation = self._known[key] = Computation(key, encoded, outputs)
            self._waiting.append(computation)
        else:
            self._shared.inc()
        return computation

    def _fail(self, batch: Sequence[Computation], error: Exception) -> list[Job]:
        failed = []
        for computation in batch:
            self._forget(computation)
            failed += [waiter.job for waiter in computation.waiters if waiter.job.fail(error)]
        return failed

    def _drop_unawaited(self) -> None:
        awaited = []
        for item in self._waiting:
            if item.is_awaited:
                awaited.append(item)
            else:
                self._forget(item)
        self._waiting = awaited

    def _forget(self, computation: Computation) -> None:
        """Stop sharing a computation: a later equal input is computed again."""
        del self._known[computation.key]


def _finish(jobs: Sequence[Job]) -> None:
    """Finish jobs in the threads of their loops, with one call per loop, since each call wakes the loop's thread."""
    loops: dict[asyncio.AbstractEventLoop, list[Callable[[], None]]] = {}
    here = threading.get_ident()
    for job in jobs:
        if job.thread == here:
            job.finish()
        else:
            loops.setdefault(job.loop, []).append(job.finish)
    for loop, calls in loops.items():
        with suppress(RuntimeError):  # the loop is closed, so no request waits there
            loop.call_soon_threadsafe(_call_all, calls)


def _call_all(calls: Sequence[Callable[[], None]]) -> None:
    for call in calls:
        call()
