"""The engine: tokenizer threads, a queue that forms batches while the model works, and one worker thread per core."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from embedfleet.dialects.serving.tei import Direction, Input, Pair
from embedfleet.engine.batching.batch_queue import BatchQueue
from embedfleet.engine.batching.cache import Cache, key_of
from embedfleet.engine.batching.choosing import BatchLimits
from embedfleet.engine.batching.job import Inference, Job
from embedfleet.engine.batching.pass_times import PassTimes
from embedfleet.engine.batching.short_passes import ShortPasses
from embedfleet.engine.batching.worker import Worker
from embedfleet.engine.compute.output import Output
from embedfleet.engine.compute.output_heads import outputs_of
from embedfleet.engine.loaded_model import LoadedModel, load_model, not_enough_memory
from embedfleet.engine.settings import EngineSettings
from embedfleet.engine.text.encoded import Encoded
from embedfleet.engine.text.truncation import TextLimits
from embedfleet.errors import Backend as BackendError
from embedfleet.errors import Overloaded, Unhealthy
from embedfleet.metrics import Registry

T = TypeVar("T")

# The event loop tokenizes inputs up to this length itself, since waking a thread would take about as long.
_INLINE_CHARACTERS = 1000


def load(settings: EngineSettings, registry: Registry) -> "Engine":
    """Load the model that the settings name, and start an engine on it.

    Raises:
        ModelError: The model cannot be served as the settings ask.
        ModelChanged: The model's files changed while they were read.
    """
    engine = Engine(load_model(settings), settings, registry)
    engine.start()
    return engine


class Engine:
    """One model that answers requests, from `start` to `close`.

    Args:
        model: Model that the engine runs.
        settings: Settings of the engine.
        registry: Metrics of the engine.

    Attributes:
        spec: Description of the model.
        precision: Number type that the model computes in, as ``/info`` names it.
        is_late_interaction: Whether the model is an embedder that ranks texts by late interaction.
        unweighted_ids: Token ids that bge-m3 gives no lexical weight.
        registry: Metrics of the engine.
        permits_left: Number of inputs that may still be accepted.
        latest: Task of the request that arrived last; when it calls `infer`, those that came with it have done so too.
    """

    def __init__(self, model: LoadedModel, settings: EngineSettings, registry: Registry) -> None:
        self.spec = model.spec
        self.precision = model.backend.precision
        self.is_late_interaction = settings.task == "rerank" and model.spec.kind == "embedding"
        self.unweighted_ids = model.unweighted_ids
        self.registry = registry
        self._lengths = registry["te_request_input_length"].histogram()
        self._model = model
        self._tokenization = model.tokenization
        self.latest: asyncio.Task[None] | None = None
        self.permits_left = settings.max_concurrent_requests
        self._tokenizers = ThreadPoolExecutor(settings.tokenization_workers, thread_name_prefix="tokenize")
        limits = BatchLimits.of(settings.batch_tokens, is_padding_free=model.backend.is_padding_free)
        cache = Cache(settings.cache_mb * 1_000_000, registry)
        times = PassTimes(settings.worker_threads, waits_for_device=model.backend.passes_at_once > 1)
        self._queue = BatchQueue(limits, cache, times, registry)
        self._workers = [
            Worker(self._queue, model.backend, model.pooler, registry)
            for _ in range(max(settings.worker_threads, model.backend.passes_at_once))
        ]
        loop_worker = Worker(self._queue, model.backend, model.pooler, registry)
        self._short_passes = ShortPasses(self._queue, loop_worker)
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Start the threads that run the model.

        Raises:
            ModelError: The system refuses to start another thread.
        """
        try:
            for number, worker in enumerate(self._workers):
                thread = threading.Thread(target=worker.run, name=f"forward-{number}", daemon=True)
                thread.start()
                self._threads.append(thread)
        except RuntimeError as error:
            self.close()
            raise not_enough_memory(self.spec.folder) from error

    @property
    def queued(self) -> int:
        """Number of inputs that wait for a forward pass."""
        return len(self._queue)

    def permits(self, inputs: int) -> "Permits":
        """Permits for a request, one per input, to hold in a ``with`` block."""
        return Permits(self, inputs)

    async def encode(
        self,
        inputs: Sequence[Input | Pair],
        *,
        truncate: bool,
        direction: Direction,
        prompt: str | None,
        may_be_empty: bool = False,
    ) -> list[Encoded]:
        """Tokenize inputs, in a tokenizer thread unless they are short; raises as `Tokenization.encode` does."""
        limits = TextLimits(self.spec.max_input_length, truncate, direction, may_be_empty)
        if _count_characters(inputs) + len(inputs) * len(prompt or "") <= _INLINE_CHARACTERS:
            encoded = self._tokenization.encode(inputs, limits, prompt)
        else:
            encoded = await self._in_tokenizer(lambda: self._tokenization.encode(inputs, limits, prompt))
        for item in encoded:
            self._lengths.observe(len(item.ids))
        return encoded

    async def tokenize(
        self, texts: Sequence[str], *, add_special_tokens: bool, prompt: str | None
    ) -> list[list[dict[str, Any]]]:
        """Return the tokens of each text, as `Tokenization.tokenize` describes them."""
        limit = self.spec.max_input_length

        def run() -> list[list[dict[str, Any]]]:
            tokenize = self._tokenization.tokenize
            return [tokenize(t, add_special_tokens=add_special_tokens, prompt=prompt, limit=limit) for t in texts]

        return await self._in_tokenizer(run)

    async def decode(self, ids: Sequence[Sequence[int]], *, skip_special_tokens: bool) -> list[str]:
        """Return each list of token ids as text; raises as `Tokenization.decode` does."""
        decode = self._tokenization.decode
        return await self._in_tokenizer(lambda: [decode(row, skip_special_tokens=skip_special_tokens) for row in ids])

    async def infer(self, encoded: Sequence[Encoded], outputs: tuple[Output, ...] = ()) -> Inference:
        """Run the model on inputs, each distinct one once.

        If the caller is cancelled, its inputs that still wait are dropped.

        Args:
            encoded: Inputs, at least one.
            outputs: Outputs of each input to compute, from `outputs_of` or `Output.VECTOR`; empty for all `outputs_of`.

        Raises:
            errors.Backend: An input cannot be computed, or its output is not finite.
        """
        outputs = outputs or outputs_of(self.spec)
        loop = asyncio.get_running_loop()
        job = Job(len(encoded), loop)
        if self._queue.put(job, encoded, [key_of(outputs, item) for item in encoded], outputs):
            if asyncio.current_task() is self.latest:
                self._short_passes.run()
            else:
                self._short_passes.request(loop)
        return await job.done

    def check(self) -> None:
        """Check that the weights in use are still the loaded ones.

        Raises:
            WeightsChanged: A file that the weights are mapped from has changed.
        """
        self._model.backend.check()

    async def health(self) -> None:
        """Check that the engine is healthy.

        The model runs again only if the last forward pass of a thread failed.

        Raises:
            Unhealthy: The model still fails, or its weights have changed.
        """
        try:
            self.check()
        except BackendError as error:
            raise Unhealthy(str(error)) from None
        if any(worker.has_failed for worker in self._workers):
            try:
                await self.infer([self._model.warm_up_input()])
            except BackendError:
                raise Unhealthy("unhealthy") from None

    def close(self) -> None:
        """Finish the passes under way, fail the inputs that wait, and end the threads."""
        self._queue.close()
        for thread in self._threads:
            thread.join()
        self._tokenizers.shutdown(cancel_futures=True)

    async def _in_tokenizer(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._tokenizers, work)


class Permits:
    """A context that holds permits of an engine; a generator would take three times as long.

    Args:
        engine: Engine whose permits are held.
        inputs: Number of permits.
    """

    def __init__(self, engine: Engine, inputs: int) -> None:
        self._engine = engine
        self._inputs = inputs

    def __enter__(self) -> None:
        """Take the permits.

        Raises:
            Overloaded: Fewer permits are left; none is taken.
        """
        if self._inputs > self._engine.permits_left:
            raise Overloaded
        self._engine.permits_left -= self._inputs

    def __exit__(self, *error: object) -> None:
        self._engine.permits_left += self._inputs


def _count_characters(inputs: Sequence[Input | Pair]) -> int:
    """Number of characters of all inputs; each id of a tokenized input counts as one."""
    return sum(sum(map(len, item)) if isinstance(item, tuple) else len(item) for item in inputs)
