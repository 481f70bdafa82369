"""What waits for a forward pass, each distinct input once, and who is told when it is computed.

Requests come from event loops, batches go to worker threads. One lock guards the queue, the computations in it and
under way, and the jobs that they answer.
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
from embedfleet.engine.compute.output import Output
from embedfleet.engine.text.tokenization import Encoded
from embedfleet.errors import Backend as BackendError
from embedfleet.metrics import Registry

STOPPING = "Backend error: the engine is stopping"


@dataclass(frozen=True, slots=True)
class _Asker:
    job: Job
    index: int
    since: float


@dataclass(eq=False, slots=True)
class Computation:
    """One input to compute, whoever asked for it, however often.

    Attributes:
        key: equal for equal computations and for no others.
        askers: who is told; they belong to whoever holds the queue's lock.
    """

    key: bytes
    encoded: Encoded
    outputs: tuple[Output, ...]
    askers: list[_Asker] = field(default_factory=list)

    @property
    def is_awaited(self) -> bool:
        """Whether anybody is left who asked for it."""
        return any(not asker.job.is_gone for asker in self.askers)


class BatchQueue:
    """See the module.

    Args:
        limits: of one batch.
        cache: of outputs; it belongs to whoever holds the queue's lock.
        registry: for the metrics of shared inputs.
    """

    def __init__(self, limits: BatchLimits, cache: Cache, registry: Registry) -> None:
        self._limits = limits
        self._cache = cache
        self._shared = registry["te_shared_inputs"].value()
        self._linger = Linger()
        self._changed = threading.Condition()
        self._waiting: list[Computation] = []
        self._known: dict[bytes, Computation] = {}  # waiting or under way
        self._closing = False

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, job: Job, inputs: Sequence[Encoded], keys: Sequence[bytes], outputs: tuple[Output, ...]) -> None:
        """Ask for a job's inputs, in the thread of its loop; what is known already is answered at once.

        Raises:
            errors.Backend: the engine is stopping.
        """
        now = time.perf_counter()
        with self._changed:
            if self._closing:
                raise BackendError(STOPPING)
            before, whole = len(self._waiting), False
            for index, (encoded, key) in enumerate(zip(inputs, keys, strict=True)):
                output = self._cache.find(key, outputs, encoded)
                if output is None:
                    self._computation(key, encoded, outputs).askers.append(_Asker(job, index, now))
                else:
                    whole = job.answer(index, output)
            self._linger.arrived(now)
            self._changed.notify(len(self._waiting) - before)
        if whole:
            job.finish()

    def await_work(self, seconds: float) -> bool:
        """Whether there is a batch to take, or the queue is closed, within so many seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: bool(self._waiting) or self._closing, seconds)

    def take(self) -> list[Computation]:
        """The next batch, as soon as there is one; empty once the queue is closed."""
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
            chosen = choose_batch([len(item.encoded.ids) for item in self._waiting], self._limits)
            batch = [self._waiting[index] for index in chosen]
            taken = set(chosen)
            self._waiting = [item for index, item in enumerate(self._waiting) if index not in taken]
        return batch

    def answer(self, computed: Sequence[tuple[Computation, tuple[Floats, ...]]], started: float) -> None:
        """Give what was computed from ``started`` until now to all who asked for it."""
        ended = time.perf_counter()
        with self._changed:
            whole = []
            for computation, output in computed:
                self._forget(computation)
                self._cache.keep(computation.key, output, computation.outputs, computation.encoded)
                for asker in computation.askers:
                    began = max(started, asker.since)
                    if asker.job.answer(
                        asker.index, output, queue_s=began - asker.since, inference_s=max(0.0, ended - began)
                    ):
                        whole.append(asker.job)
            self._linger.ended(len(whole), started, ended)
        _tell(whole)

    def fail(self, batch: Sequence[Computation], error: Exception) -> None:
        """Tell all who asked for any of a batch that it cannot be computed."""
        with self._changed:
            failed = self._fail(batch, error)
        _tell(failed)

    def close(self) -> None:
        """Fail what waits, let what is under way end, and give out no more batches."""
        with self._changed:
            self._closing = True
            left, self._waiting = self._waiting, []
            failed = self._fail(left, BackendError(STOPPING))
            self._changed.notify_all()
        _tell(failed)

    def _is_full(self) -> bool:
        """Whether more inputs could not join the next batch anyway."""
        tokens = sum(len(item.encoded.ids) for item in self._waiting[: self._limits.inputs])
        return len(self._waiting) >= self._limits.inputs or tokens >= self._limits.tokens

    def _computation(self, key: bytes, encoded: Encoded, outputs: tuple[Output, ...]) -> Computation:
        """The one of that key, waiting, under way, or new."""
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
            failed += [asker.job for asker in computation.askers if asker.job.fail(error)]
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
        """From now on an equal input is computed anew."""
        del self._known[computation.key]


def _tell(jobs: Sequence[Job]) -> None:
    """Finish jobs in their loops' threads: one call per loop, for each call wakes the loop's thread."""
    loops: dict[asyncio.AbstractEventLoop, list[Callable[[], None]]] = {}
    for job in jobs:
        loops.setdefault(job.loop, []).append(job.finish)
    for loop, calls in loops.items():
        with suppress(RuntimeError):  # it has been closed, and nobody is left to be told
            loop.call_soon_threadsafe(_call_all, calls)


def _call_all(calls: Sequence[Callable[[], None]]) -> None:
    for call in calls:
        call()
