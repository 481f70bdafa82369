"""A thread that runs the model: takes batches, computes them, and finds the inputs that cannot be computed."""

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
from embedfleet.engine.text.tokenization import Encoded
from embedfleet.errors import Backend as BackendError
from embedfleet.metrics import Registry
from embedfleet.system.heap import give_back

# A pause before the heap is given back: to get it anew costs the next pass a millisecond or two.
_REST_S = 5.0
_NOT_FINITE = "Backend error: the model's output is not finite"


class Worker:
    """One thread's work; several may share queue and backend.

    Args:
        queue: where batches come from and answers go.
        backend: of the model.
        vectors: of the model's states; None if it gives none.
        registry: for the metrics of passes.
    """

    def __init__(
        self,
        queue: BatchQueue,
        backend: Backend,
        vectors: EmbeddingPooler | None,
        registry: Registry,
    ) -> None:
        self.has_failed = False  # in its last pass
        self._queue = queue
        self._backend = backend
        self._vectors = vectors
        self._sizes = registry["te_batch_next_size"].histogram()
        self._tokens = registry["te_batch_next_tokens"].histogram()
        self._splits = registry["te_batch_splits"].value()

    def run(self) -> None:
        """Work until the queue is closed, and give back what passes left on the heap when there is nothing to do."""
        while True:
            if not self._queue.await_work(_REST_S):
                give_back()
            batch = self._queue.take()
            if not batch:
                return
            parts: list[Sequence[Computation]] = [batch]
            while parts:
                parts += self._compute(parts.pop())

    def _compute(self, batch: Sequence[Computation]) -> list[Sequence[Computation]]:
        """Answer what can be answered of a batch in one pass; the parts to try next, so that only the guilty fail."""
        self._sizes.observe(len(batch))
        self._tokens.observe(sum(len(item.encoded.ids) for item in batch))
        started = time.perf_counter()
        try:
            outputs = self._forward(batch)
        except BaseException as error:  # noqa: BLE001 - also a panic of native code, which is no Exception: the thread lives
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
        """What to run after a batch of which ``left`` was not computed; an input that was alone fails."""
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
        """What is asked of each input; None where it is not finite."""
        union = tuple(dict.fromkeys(output.source for item in batch for output in item.outputs))
        given = self._backend.forward(*join([item.encoded for item in batch]), union)
        parts = {output: _parts(output, rows, batch) for output, rows in zip(union, given, strict=True)}
        finite = [True] * len(batch)
        with np.errstate(all="ignore"):  # a sum that is no number is what we ask for
            for output, rows in zip(union, given, strict=True):
                if not _is_finite(rows):
                    finite = [one and _is_finite(part) for one, part in zip(finite, parts[output], strict=True)]
        return [
            self._outputs(item, [parts[output.source][number] for output in item.outputs]) if is_finite else None
            for number, (item, is_finite) in enumerate(zip(batch, finite, strict=True))
        ]

    def _outputs(self, item: Computation, rows: Sequence[Floats]) -> tuple[Floats, ...] | None:
        """What is asked of one input; None where its vector is not finite, as layers after the pooling can make it."""
        with np.errstate(all="ignore"):
            given = tuple(self._output(item, output, part) for output, part in zip(item.outputs, rows, strict=True))
            vectors = [part for output, part in zip(item.outputs, given, strict=True) if output is Output.VECTOR]
            return given if all(map(_is_finite, vectors)) else None

    def _output(self, item: Computation, output: Output, part: Floats) -> Floats:
        """What is asked of one input; never a view of the batch where only a row of it is kept."""
        if output is not Output.VECTOR:
            return part if output.is_per_token else part.copy()
        assert self._vectors is not None, "vectors are asked of embedders alone"
        return self._vectors(part, item.encoded.skipped)


def _is_finite(rows: Floats) -> bool:
    """Whether all numbers are: with one that is not the sum is not either, but great ones can make it so as well."""
    return isfinite(np.add.reduce(rows, axis=None)) or bool(np.isfinite(rows).all())


def join(inputs: Sequence[Encoded]) -> tuple[Integers, Integers, Integers]:
    """Ids, types and lengths of sequences laid end to end."""
    lengths = np.array([len(item.ids) for item in inputs], dtype=np.int64)
    if len(inputs) == 1:
        return inputs[0].ids, inputs[0].types, lengths
    return np.concatenate([item.ids for item in inputs]), np.concatenate([item.types for item in inputs]), lengths


def _parts(output: Output, rows: Floats, batch: Sequence[Computation]) -> Sequence[Floats]:
    """The rows of each input: those of its tokens, or its one."""
    if not output.is_per_token:
        return list(rows)
    ends = accumulate(len(item.encoded.ids) for item in batch)
    return [rows[end - len(item.encoded.ids) : end] for item, end in zip(batch, ends, strict=True)]
