"""One model at work: tokenizer threads, a queue that forms batches while the model works, and one thread a core."""

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from embedfleet.dialects.serving.tei import Direction, Input, Pair
from embedfleet.engine.backends import make_backend
from embedfleet.engine.batching.batch_queue import BatchQueue
from embedfleet.engine.batching.cache import Cache, key_of
from embedfleet.engine.batching.choosing import BatchLimits
from embedfleet.engine.batching.job import Inference, Job
from embedfleet.engine.batching.worker import Worker, join
from embedfleet.engine.compute.backend import Backend
from embedfleet.engine.compute.embedding_pooler import EmbeddingPooler
from embedfleet.engine.compute.memory_estimate import pass_bytes
from embedfleet.engine.compute.output import Output
from embedfleet.engine.compute.output_heads import outputs_of
from embedfleet.engine.model.folder_state import FolderState
from embedfleet.engine.model.pooling_config import Pooling
from embedfleet.engine.model.sparse_unused_tokens import sparse_unused_tokens
from embedfleet.engine.model.spec import ModelSpec, read_model
from embedfleet.engine.settings import BackendName, Precision
from embedfleet.engine.text.tokenization import Encoded, Tokenization
from embedfleet.engine.text.truncation import TextLimits
from embedfleet.errors import Backend as BackendError
from embedfleet.errors import (
    ModelError,
    OutOfMemory,
    Overloaded,
    ServingError,
    Unhealthy,
    WeightsChanged,
)
from embedfleet.metrics import Registry
from embedfleet.system.cgroup import memory_limit
from embedfleet.system.heap import give_back

log = logging.getLogger(__name__)

T = TypeVar("T")

# Up to so many characters, 0.2 ms of work, the event loop tokenizes itself: a thread takes as long to be woken.
_INLINE_CHARACTERS = 1000


class Engine:
    """See the module. `load` makes one, `close` ends its threads.

    Attributes:
        registry: of its metrics.
        unused_ids: tokens that bge-m3 gives no lexical weight.

    Raises:
        ModelError: a file of bge-m3's that should name those cannot be read.
    """

    def __init__(
        self,
        spec: ModelSpec,
        tokenization: Tokenization,
        backend: Backend,
        vectors: EmbeddingPooler | None,
        *,
        late_interaction: bool,
        workers: int,
        tokenization_workers: int,
        limits: BatchLimits,
        max_concurrent_requests: int,
        registry: Registry,
        cache_bytes: int = 0,
    ) -> None:
        self.spec = spec
        self.late_interaction = late_interaction
        self.precision = backend.precision
        self.unused_ids = _unused_ids(spec, tokenization)
        self._tokenization = tokenization
        self._backend = backend
        self._permits = max_concurrent_requests
        self.registry = registry
        self._tokenizers = ThreadPoolExecutor(tokenization_workers, thread_name_prefix="tokenize")
        self._queue = BatchQueue(limits, Cache(cache_bytes, registry), registry)
        self._workers = [Worker(self._queue, backend, vectors, registry) for _ in range(workers)]
        self._threads = [
            threading.Thread(target=worker.run, name=f"forward-{number}", daemon=True)
            for number, worker in enumerate(self._workers)
        ]
        for thread in self._threads:
            thread.start()

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
        auto_truncate: bool = True,
        cache_bytes: int = 0,
        backend: BackendName = "onnx",
        device: str = "cpu",
        precision: Precision = "auto",
        packed: Path | None = None,
    ) -> "Engine":
        """Read a model folder, give it to its backend and run it once.

        Raises:
            ModelError: the model cannot be served; the message names the file.
            ModelChanged: somebody wrote to its files meanwhile.
        """
        spec = _fitting(
            read_model(folder, pooling=pooling, ranks=late_interaction), max_batch_tokens, cuts=auto_truncate
        )
        if spec.is_length_of_tokenizer:
            log.info(
                "inputs are cut at %d tokens, as tokenizer_config.json says; TEI reads %d, what config.json says alone",
                *(spec.max_input_length, spec.family.max_input_length),
            )
        state = FolderState(spec)
        try:
            tokenization = Tokenization.of(spec)
            _check_tokenizer(spec, tokenization)
            runner = make_backend(spec, backend, device, precision, packed)
            runner.forward(*join([_warm_up(tokenization, spec)]), outputs_of(spec))
            vectors = EmbeddingPooler(spec) if spec.kind == "embedding" else None
        except (MemoryError, OutOfMemory) as error:
            raise _no_room(folder) from error
        except ModelError:
            state.check()  # of half a file nothing else is to be said
            raise
        except WeightsChanged:
            raise
        except ServingError as error:
            raise ModelError(
                f"{folder} is loaded, but computes nothing: {error}", "copy or download the whole folder again"
            ) from error
        state.check()
        give_back()
        if device == "cpu":
            tell_memory(spec, max(batch_tokens, spec.max_input_length), workers)
        try:
            return cls(
                spec,
                tokenization,
                runner,
                vectors,
                late_interaction=late_interaction and spec.kind == "embedding",
                workers=workers,
                tokenization_workers=tokenization_workers,
                limits=BatchLimits(tokens=batch_tokens, padding=None if runner.padding_free else 0.15),
                max_concurrent_requests=max_concurrent_requests,
                registry=registry,
                cache_bytes=cache_bytes,
            )
        except RuntimeError as error:  # a thread cannot be started
            raise _no_room(folder) from error

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

    async def encode(
        self,
        inputs: Sequence[Input | Pair],
        *,
        truncate: bool,
        direction: Direction,
        prompt: str | None,
        may_be_empty: bool = False,
    ) -> list[Encoded]:
        """Tokenize, in a tokenizer thread unless it is little; see `Tokenization.encode` for the errors."""
        limits = TextLimits(self.spec.max_input_length, truncate, direction, may_be_empty)
        if _characters(inputs) + len(inputs) * len(prompt or "") <= _INLINE_CHARACTERS:
            encoded = self._tokenization.encode(inputs, limits, prompt)
        else:
            encoded = await self._in_tokenizer(lambda: self._tokenization.encode(inputs, limits, prompt))
        lengths = self.registry["te_request_input_length"].histogram()
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
        """Run the model on inputs, each distinct one once; if the caller is cancelled, those that wait are dropped.

        Args:
            encoded: at least one.
            outputs: what is asked of each, pooled or as `outputs_of` names it; none stands for all of the latter.

        Raises:
            errors.Backend: an input cannot be computed, or its output is not finite.
        """
        outputs = outputs or outputs_of(self.spec)
        job = Job(len(encoded), asyncio.get_running_loop())
        self._queue.put(job, encoded, [key_of(outputs, item) for item in encoded], outputs)
        return await job.done

    def check(self) -> None:
        """See that what is computed with is still what was loaded.

        Raises:
            WeightsChanged: it is not.
        """
        self._backend.check()

    async def health(self) -> None:
        """Return at once while forward passes succeed; after one has failed, try one.

        Raises:
            Unhealthy: it fails still.
        """
        try:
            self.check()
        except BackendError as error:
            raise Unhealthy(str(error)) from None
        if any(worker.has_failed for worker in self._workers):
            try:
                await self.infer([_warm_up(self._tokenization, self.spec)])
            except BackendError:
                raise Unhealthy("unhealthy") from None

    def close(self) -> None:
        """Let the passes under way end, fail what waits, and end the threads."""
        self._queue.close()
        for thread in self._threads:
            thread.join()
        self._tokenizers.shutdown(cancel_futures=True)

    async def _in_tokenizer(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._tokenizers, work)


def _fitting(spec: ModelSpec, most: int, *, cuts: bool) -> ModelSpec:
    """The model with no longer inputs than a batch may have; as in TEI, only where those that are longer are cut.

    Raises:
        ModelError: they are not.
    """
    length = spec.max_input_length
    if length <= most:
        return spec
    hint = f"set max_batch_tokens to {length} or more"
    if not cuts:
        raise ModelError(
            f"max_batch_tokens is {most}, below the model's input length of {length} ({spec.folder})", hint
        )
    log.warning("inputs are cut at %d tokens, max_batch_tokens; the model reads %d: %s", most, length, hint)
    return replace(spec, max_input_length=most)


def _unused_ids(spec: ModelSpec, tokenization: Tokenization) -> frozenset[int]:
    return tokenization.ids_of(sparse_unused_tokens(spec.body)) if spec.has_m3_heads else frozenset()


def _characters(inputs: Sequence[Input | Pair]) -> int:
    """Characters of all inputs; of an input of ids, how many ids."""
    return sum(sum(map(len, item)) if isinstance(item, tuple) else len(item) for item in inputs)


def tell_memory(spec: ModelSpec, tokens: int, workers: int) -> None:
    """Log what the largest pass takes, and a warning where the machine or the container may not have it."""
    if spec.is_onnx_file:  # somebody else's operations
        return
    needed, given = pass_bytes(spec, tokens), memory_limit()
    level = logging.WARNING if workers * needed > given else logging.INFO
    log.log(
        level,
        "a pass of %d tokens takes up to %.0f MB beside the weights, on each of %d threads; there are %.0f MB in all",
        *(tokens, needed / 1e6, workers, given / 1e6),
        extra={"tokens": tokens, "pass_bytes": needed, "threads": workers, "memory_bytes": given},
    )


def _no_room(folder: Path) -> ModelError:
    size = sum(file.stat().st_size for file in folder.glob("*") if file.is_file())
    return ModelError(
        f"{folder}: not enough memory to load a model of {size / 1e6:.0f} MB on disk",
        "free memory, raise the container's or service's memory limit, run fewer replicas, or serve a smaller model",
    )


def _check_tokenizer(spec: ModelSpec, tokenization: Tokenization) -> None:
    """See that the model has a row for each token, and room for more than the special ones.

    Raises:
        ModelError: it has not.
    """
    hint, vocabulary = "the tokenizer belongs to another model", spec.family.vocabulary
    if tokenization.vocabulary > vocabulary:
        raise ModelError(
            f"{spec.tokenizer_file} has {tokenization.vocabulary} tokens, config.json says {vocabulary}", hint
        )
    if tokenization.special_tokens >= spec.max_input_length:
        raise ModelError(
            f"{spec.tokenizer_file} adds {tokenization.special_tokens} special tokens,"
            f" an input has room for {spec.max_input_length}",
            hint,
        )


def _warm_up(tokenization: Tokenization, spec: ModelSpec) -> Encoded:
    limits = TextLimits(spec.max_input_length, truncate=True, direction="right")
    return tokenization.encode(["warm up"], limits, None)[0]
