"""The loop of a worker thread: take batches, compute them, and single out inputs that cannot be computed."""

import time
from collections.abc import Sequence
from itertools import accumulate
from math import isfinite

import numpy as np

from embedfleet.arrays import Floats, Integers
from embedfleet.engine.batching.batch_queue import BatchQueue, Computation
from embedfleet.engine.compute.backend import Backend
from embedfleet.engine.compute.embedding_pooler import EmbeddingPooler
from embedfleet.engine.compute.output import Output
from embedfleet.engine.text.encoded import Encoded
from embedfleet.errors import Backend as BackendError
from embedfleet.metrics import Registry
from embedfleet.system.heap import give_back

# Idle time after which freed heap memory goes back to the system. The next pass is then a little slower.
_REST_S = 5.0
_NOT_FINITE = "Backend error: the model's output is not finite"


class Worker:
    """The loop of one worker thread; several workers may share a queue and a backend.

    Args:
        queue: Queue of batches.
        backend: Backend that runs the model.
        pooler: Pooler of token states; None for a model that is not an embedder.
        registry: Metrics of the engine.

    Attributes:
        has_failed: Whether the last pass failed for any input.
    """

    def __init__(
        self,
        queue: BatchQueue,
        backend: Backend,
        pooler: EmbeddingPooler | None,
        registry: Registry,
    ) -> None:
        self.has_failed = False
        self._queue = queue
        self._backend = backend
        self._pooler = pooler
        self._sizes = registry["te_batch_next_size"].histogram()
        self._tokens = registry["te_batch_next_tokens"].histogram()
        self._splits = registry["te_batch_splits"].value()

    def run(self) -> None:
        """Compute batches until the queue is closed; when idle, give freed heap memory back to the system."""
        while True:
            if not self._queue.await_work(_REST_S):
                give_back()
            batch = self._queue.take()
            if not batch:
                return
            self.work(batch)

    def work(self, batch: Sequence[Computation]) -> None:
        """Compute a batch, and answer or fail each of its inputs."""
        parts: list[Sequence[Computation]] = [batch]
        while parts:
            parts += self._compute(parts.pop())

    def _compute(self, batch: Sequence[Computation]) -> list[Sequence[Computation]]:
        """Run one pass, and answer the inputs that it computed.

        Returns:
            Parts of the batch to run next. An input fails only if a pass with this input alone fails.
        """
        tokens = sum([len(item.encoded.ids) for item in batch])
        self._sizes.observe(len(batch))
        self._tokens.observe(tokens)
        times = self._queue.times
        is_measured, started = times.is_due(tokens), time.perf_counter()
        try:
            spent = time.thread_time() if is_measured else 0.0
            outputs = self._forward(batch)
            if is_measured:
                times.measured(tokens, time.thread_time() - spent)
        except BaseException as error:  # noqa: BLE001 - native panics are no Exception, and the thread must go on
            self.has_failed = True
            return self._try_apart(batch, batch, error)
        sound = [(item, output) for item, output in zip(batch, outputs, strict=True) if output is not None]
        self.has_failed = len(sound) < len(batch)
        self._queue.answer(sound, started)
        left = [item for item, output in zip(batch, outputs, strict=True) if output is None]
        return self._try_apart(batch, left, BackendError(_NOT_FINITE)) if left else []

    def _try_apart(
        self, batch: Sequence[Computation], left: Sequence[Computation], error: BaseException
    ) -> list[Sequence[Computation]]:
        """Choose the parts to run after a pass that left inputs without an output; fail a batch of one input.

        Args:
            batch: Inputs of the pass.
            left: Inputs without an output.
            error: Error of the pass.
        """
        if len(batch) == 1:
            failure = error if isinstance(error, BackendError) else BackendError(f"Backend error: {error!r}")
            self._queue.fail(left, failure)
            return []
        if len(left) < len(batch):
            return [left]
        self._splits.inc()
        middle = len(left) // 2
        return [left[middle:], left[:middle]]

    def _forward(self, batch: Sequence[Computation]) -> list[tuple[Floats, ...] | None]:
        """Run the model on a batch; returns the outputs of each input, or None where one is not finite."""
        pools = self._backend.pools and not any(item.encoded.skipped for item in batch)
        union = _sources(batch, pools=pools)
        given = self._backend.forward(*join([item.encoded for item in batch]), union)
        parts = {output: _parts(output, rows, batch) for output, rows in zip(union, given, strict=True)}
        finite = [True] * len(batch)
        with np.errstate(all="ignore"):  # numbers that are not finite are expected here
            for output, rows in zip(union, given, strict=True):
                if not _is_finite(rows):
                    finite = [one and _is_finite(part) for one, part in zip(finite, parts[output], strict=True)]
            return [
                self._outputs(
                    item, [parts[_source(output, pools=pools)][number] for output in item.outputs], pools=pools
                )
                if is_finite
                else None
                for number, (item, is_finite) in enumerate(zip(batch, finite, strict=True))
            ]

    def _outputs(self, item: Computation, rows: Sequence[Floats], *, pools: bool) -> tuple[Floats, ...] | None:
        """The outputs of one input; None if its vector is not finite after the layers that follow pooling."""
        given = []
        for output, part in zip(item.outputs, rows, strict=True):
            made = self._output(item, output, part, pools=pools)
            if output is Output.VECTOR and not _is_finite(made):
                return None
            given.append(made)
        return tuple(given)

    def _output(self, item: Computation, output: Output, part: Floats, *, pools: bool) -> Floats:
        """One output of one input, copied if a view would keep the whole batch in memory for one row."""
        if output is not Output.VECTOR:
            return part if output.is_per_token else part.copy()
        assert self._pooler is not None, "only embedders give vectors"
        return self._pooler.finish(part) if pools else self._pooler(part, item.encoded.skipped)


def _source(output: Output, *, pools: bool) -> Output:
    """The backend's output that an output is made of."""
    return Output.POOLED if pools and output is Output.VECTOR else output.source


def _sources(batch: Sequence[Computation], *, pools: bool) -> tuple[Output, ...]:
    """The backend's outputs that a batch needs."""
    wanted = {item.outputs: None for item in batch}  # mostly, all inputs have the same outputs
    return tuple(dict.fromkeys(_source(output, pools=pools) for outputs in wanted for output in outputs))


def _is_finite(rows: Floats) -> bool:
    """Whether all numbers are finite.

    If one is not, the sum is not either. Large finite numbers can overflow the sum too, so then all are checked.
    """
    return isfinite(np.add.reduce(rows, axis=None)) or bool(np.isfinite(rows).all())


def join(inputs: Sequence[Encoded]) -> tuple[Integers, Integers, Integers]:
    """Concatenate sequences; returns their token ids, token types and lengths."""
    lengths = np.array([len(item.ids) for item in inputs], dtype=np.int64)
    if len(inputs) == 1:
        return inputs[0].ids, inputs[0].types, lengths
    return np.concatenate([item.ids for item in inputs]), np.concatenate([item.types for item in inputs]), lengths


def _parts(output: Output, rows: Floats, batch: Sequence[Computation]) -> Sequence[Floats]:
    """Split rows by input: one row per input, or one per token."""
    if not output.is_per_token:
        return list(rows)
    ends = accumulate(len(item.encoded.ids) for item in batch)
    return [rows[end - len(item.encoded.ids) : end] for item, end in zip(batch, ends, strict=True)]
