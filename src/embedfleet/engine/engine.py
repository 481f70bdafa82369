"""One model at work: tokenizer threads, a queue that forms batches while the model works, and one thread a core."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from math import isfinite
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from embedfleet.dialects.tei import Direction, Floats, Input, Pair
from embedfleet.engine.backend import Backend, OnnxBackend, Output
from embedfleet.engine.batching import BatchLimits, choose_batch
from embedfleet.engine.heads import outputs_of
from embedfleet.engine.m3 import unused_tokens
from embedfleet.engine.model import ModelSpec, Pooling, read_model
from embedfleet.engine.tokenization import Encoded, TextLimits, Tokenization
from embedfleet.errors import Backend as BackendError
from embedfleet.errors import ModelError, Overloaded, Unhealthy
from embedfleet.metrics import Registry

__all__ = ["Encoded", "Engine", "Inference"]

T = TypeVar("T")

# Up to so many characters, 0.2 ms of work, the event loop tokenizes itself: a thread takes as long to be woken.
_INLINE_CHARACTERS = 1000


@dataclass(frozen=True, slots=True)
class Inference:
    """What the model said of the inputs of one request.

    Attributes:
        outputs: per input what was asked of it, in the order asked; see `Output`, of whose rows it has its own.
        queue_s: mean wait per input.
        inference_s: mean duration of the inputs' forward passes.
    """

    outputs: Sequence[tuple[Floats, ...]]
    queue_s: float
    inference_s: float


class _Job:
    """The inputs of one request; its future is set once all have run, or one has failed."""

    def __init__(self, size: int, loop: asyncio.AbstractEventLoop) -> None:
        self.outputs: list[tuple[Floats, ...] | None] = [None] * size
        self.left = size
        self.queue_s = 0.0
        self.inference_s = 0.0
        self.loop = loop
        self.done: asyncio.Future[Inference] = loop.create_future()

    def finish(self) -> None:
        """In the loop's thread: hand the results over."""
        if not self.done.done():
            outputs = [output for output in self.outputs if output is not None]
            size = len(outputs)
            self.done.set_result(Inference(outputs, self.queue_s / size, self.inference_s / size))

    def fail(self, error: Exception) -> None:
        """In the loop's thread: hand the failure over."""
        if not self.done.done():
            self.done.set_exception(error)


@dataclass(frozen=True, slots=True)
class _Waiting:
    job: _Job
    index: int
    encoded: Encoded
    outputs: tuple[Output, ...]
    since: float


class Engine:
    """See the module. `load` makes one, `close` ends its threads."""

    def __init__(
        self,
        spec: ModelSpec,
        tokenization: Tokenization,
        backend: Backend,
        *,
        late_interaction: bool,
        workers: int,
        tokenization_workers: int,
        limits: BatchLimits,
        max_concurrent_requests: int,
        registry: Registry,
    ) -> None:
        self.spec = spec
        self.late_interaction = late_interaction
        self._tokenization = tokenization
        self._backend = backend
        self._limits = limits
        self._permits = max_concurrent_requests
        self._registry = registry
        self._failed = False  # whether the last forward pass failed
        self._tokenizers = ThreadPoolExecutor(tokenization_workers, thread_name_prefix="tokenize")
        # The queue and `_closing` belong to whoever holds the condition.
        self._changed = threading.Condition()
        self._queue: list[_Waiting] = []
        self._closing = False
        self._workers = [threading.Thread(target=self._work, name=f"forward-{n}", daemon=True) for n in range(workers)]
        for worker in self._workers:
            worker.start()

    @classmethod
    def load(
        cls,
        folder: Path,
        *,
        pooling: Pooling | None,
        late_interaction: bool,
        workers: int,
        tokenization_workers: int,
        batch_tokens: int,
        max_batch_tokens: int,
        max_concurrent_requests: int,
        registry: Registry,
    ) -> "Engine":
        """Read a model folder, build its graph and run it once.

        Raises:
            ModelError: the model cannot be served; the message names the file.
        """
        spec = read_model(folder, pooling=pooling)
        if spec.max_input_length > max_batch_tokens:
            raise ModelError(
                f"max_batch_tokens is {max_batch_tokens}, below the model's input length of {spec.max_input_length}",
                f"set max_batch_tokens to {spec.max_input_length} or more",
            )
        tokenization = Tokenization(spec.tokenizer_file)
        vocabulary = spec.family.vocabulary
        if tokenization.vocabulary > vocabulary:
            raise ModelError(
                f"{spec.tokenizer_file} has {tokenization.vocabulary} tokens, config.json says {vocabulary}",
                "the tokenizer belongs to another model",
            )
        backend = OnnxBackend(spec)
        backend.forward(*_join([_warm_up(tokenization)]), outputs_of(spec))
        return cls(
            spec,
            tokenization,
            backend,
            late_interaction=late_interaction and spec.kind == "embedding",
            workers=workers,
            tokenization_workers=tokenization_workers,
            limits=BatchLimits(tokens=batch_tokens),
            max_concurrent_requests=max_concurrent_requests,
            registry=registry,
        )

    @property
    def queued(self) -> int:
        """Inputs that wait for a forward pass."""
        return len(self._queue)

    @contextmanager
    def permits(self, inputs: int) -> Iterator[None]:
        """Hold a permit per input.

        Raises:
            Overloaded: there are not enough; none is taken.
        """
        if inputs > self._permits:
            raise Overloaded
        self._permits -= inputs
        try:
            yield
        finally:
            self._permits += inputs

    @cached_property
    def unused_ids(self) -> frozenset[int]:
        """Tokens that bge-m3 gives no lexical weight."""
        return self._tokenization.ids_of(unused_tokens(self.spec.folder))

    async def encode(
        self, inputs: Sequence[Input | Pair], *, truncate: bool, direction: Direction, prompt: str | None
    ) -> list[Encoded]:
        """Tokenize, in a tokenizer thread unless it is little; see `Tokenization.encode` for the errors."""
        limits = TextLimits(self.spec.max_input_length, truncate, direction)
        if _characters(inputs) + len(inputs) * len(prompt or "") <= _INLINE_CHARACTERS:
            encoded = self._tokenization.encode(inputs, limits, prompt)
        else:
            encoded = await self._in_tokenizer(lambda: self._tokenization.encode(inputs, limits, prompt))
        lengths = self._registry["te_request_input_length"].histogram()
        for item in encoded:
            lengths.observe(len(item.ids))
        return encoded

    async def tokenize(
        self, texts: Sequence[str], *, add_special_tokens: bool, prompt: str | None
    ) -> list[list[dict[str, Any]]]:
        """Tokens of each text; see `Tokenization.tokenize`."""
        limit = self.spec.max_input_length

        def run() -> list[list[dict[str, Any]]]:
            tokenize = self._tokenization.tokenize
            return [tokenize(t, add_special_tokens=add_special_tokens, prompt=prompt, limit=limit) for t in texts]

        return await self._in_tokenizer(run)

    async def decode(self, ids: Sequence[Sequence[int]], *, skip_special_tokens: bool) -> list[str]:
        """Each list of ids as text; see `Tokenization.decode`."""
        decode = self._tokenization.decode
        return await self._in_tokenizer(lambda: [decode(row, skip_special_tokens=skip_special_tokens) for row in ids])

    async def infer(self, encoded: Sequence[Encoded], outputs: tuple[Output, ...] = ()) -> Inference:
        """Run the model on inputs; if the caller is cancelled, those that still wait are dropped.

        Args:
            encoded: at least one.
            outputs: what is asked of each, some of those that `outputs_of` names; none stands for all of them.

        Raises:
            errors.Backend: a forward pass failed, or its output is not finite.
        """
        outputs = outputs or outputs_of(self.spec)
        job = _Job(len(encoded), asyncio.get_running_loop())
        now = time.perf_counter()
        with self._changed:
            if self._closing:
                raise BackendError("Backend error: the engine is stopping")
            self._queue.extend(_Waiting(job, index, item, outputs, now) for index, item in enumerate(encoded))
            self._changed.notify(len(encoded))
        return await job.done

    async def health(self) -> None:
        """Return at once while forward passes succeed; after one has failed, try one.

        Raises:
            Unhealthy: it fails still.
        """
        if self._failed:
            try:
                await self.infer([_warm_up(self._tokenization)])
            except BackendError:
                raise Unhealthy("unhealthy") from None

    def close(self) -> None:
        """Let the passes under way end, fail what waits, and end the threads."""
        with self._changed:
            self._closing = True
            left, self._queue = self._queue, []
            self._changed.notify_all()
        for job in {item.job for item in left}:
            _tell(job, job.fail, BackendError("Backend error: the engine is stopping"))
        for worker in self._workers:
            worker.join()
        self._tokenizers.shutdown(cancel_futures=True)

    async def _in_tokenizer(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._tokenizers, work)

    def _work(self) -> None:
        """A worker's life: take a batch, run it, hand it over."""
        while batch := self._take():
            started = time.perf_counter()
            try:
                outputs = self._forward(batch)
                self._failed = False
            except Exception as error:  # noqa: BLE001 - whatever a backend raises fails its batch, never the engine
                self._failed = True
                failure = error if isinstance(error, BackendError) else BackendError(f"Backend error: {error!r}")
                for job in {item.job for item in batch}:
                    _tell(job, job.fail, failure)
                continue
            self._hand_over(batch, outputs, started)

    def _take(self) -> list[_Waiting]:
        """The next batch; empty once the engine closes."""
        with self._changed:
            while True:
                self._queue = [item for item in self._queue if not item.job.done.done()]
                if self._closing:
                    return []
                if self._queue:
                    break
                self._changed.wait()
            chosen = choose_batch([len(item.encoded.ids) for item in self._queue], self._limits)
            batch = [self._queue[index] for index in chosen]
            taken = set(chosen)
            self._queue = [item for index, item in enumerate(self._queue) if index not in taken]
        self._registry["te_batch_next_size"].histogram().observe(len(batch))
        self._registry["te_batch_next_tokens"].histogram().observe(sum(len(item.encoded.ids) for item in batch))
        return batch

    def _forward(self, batch: Sequence[_Waiting]) -> list[tuple[Floats, ...]]:
        """What each input asks for, from one pass that computes all that any of them does."""
        union = tuple(dict.fromkeys(output for item in batch for output in item.outputs))
        ids, types, lengths = _join([item.encoded for item in batch])
        rows = self._backend.forward(ids, types, lengths, union)
        if not all(isfinite(np.add.reduce(row, axis=None)) for row in rows):  # one NaN or infinity is enough
            raise BackendError("Backend error: the model's output is not finite")
        ends = np.cumsum(lengths)[:-1]
        parts = {
            output: np.split(row, ends) if output.is_per_token else row for output, row in zip(union, rows, strict=True)
        }
        return [tuple(parts[output][index] for output in item.outputs) for index, item in enumerate(batch)]

    def _hand_over(self, batch: Sequence[_Waiting], outputs: Sequence[tuple[Floats, ...]], started: float) -> None:
        elapsed = time.perf_counter() - started
        # Two workers may hold parts of one job: its counters belong to the condition as well.
        with self._changed:
            for item, output in zip(batch, outputs, strict=True):
                job = item.job
                job.outputs[item.index] = output
                job.queue_s += started - item.since
                job.inference_s += elapsed
                job.left -= 1
            whole = {item.job for item in batch if item.job.left == 0}
        for job in whole:
            _tell(job, job.finish)


def _join(batch: Sequence[Encoded]) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Ids, types and lengths of sequences laid end to end."""
    return (
        np.concatenate([item.ids for item in batch]),
        np.concatenate([item.types for item in batch]),
        np.array([len(item.ids) for item in batch], dtype=np.int64),
    )


def _characters(inputs: Sequence[Input | Pair]) -> int:
    """Characters of all inputs; of an input of ids, how many ids."""
    return sum(sum(map(len, item)) if isinstance(item, tuple) else len(item) for item in inputs)


def _warm_up(tokenization: Tokenization) -> Encoded:
    return tokenization.encode(["warm up"], TextLimits(16, truncate=True, direction="right"), None)[0]


def _tell(job: _Job, call: Callable[..., None], *args: Exception) -> None:
    """Call in the thread of the job's loop, if it still runs."""
    with suppress(RuntimeError):  # it has been closed, and nobody is left to be told
        job.loop.call_soon_threadsafe(call, *args)
