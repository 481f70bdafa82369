"""A backend that answers with its input and fails at certain tokens, and an engine on it."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from embedfleet.engine.compute.embedding_pooler import EmbeddingPooler
from embedfleet.engine.engine import Engine
from embedfleet.engine.loaded_model import LoadedModel
from embedfleet.engine.model.builtin import builtin_model
from embedfleet.engine.model.spec import read_model
from embedfleet.engine.settings import EngineSettings
from embedfleet.engine.text.encoded import Encoded
from embedfleet.engine.text.tokenization import Tokenization
from embedfleet.errors import OutOfMemory
from embedfleet.metrics import TEI, Registry

TIMEOUT_S = 20
SPEC = read_model(builtin_model())
TOKENIZATION = Tokenization(SPEC.tokenizer_file)
# First tokens at which the backend fails. `SPREADING` makes all rows of its pass infinite, as a padded pass can.
POISON, PANIC, NOT_A_NUMBER, SPREADING = 13, 14, 15, 16


class Panic(BaseException):
    """A BaseException that is not an Exception, like a panic of native code."""


class EchoBackend:
    """A backend whose states are the ids themselves, two wide, and whose passes wait for `gate`.

    Attributes:
        gate: Event that passes wait for.
        entered: Semaphore that each pass releases when it begins.
        batches: Inputs of each pass so far, failed ones included.
        broken: Whether every pass fails.
        room: Maximum number of tokens that fit into memory.
    """

    precision = "float32"
    is_padding_free = False
    passes_at_once = 1
    pools = False

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Semaphore(0)
        self.batches: list[list[list[int]]] = []
        self.broken = False
        self.room = 10_000

    def forward(self, ids, types, lengths, outputs):
        rows = [row.tolist() for row in np.split(ids, np.cumsum(lengths)[:-1])]
        self.batches.append(rows)
        self.entered.release()
        assert self.gate.wait(TIMEOUT_S)
        self._stumble({row[0] for row in rows}, len(ids))
        states = np.repeat(ids[:, None].astype(np.float32), 2, axis=1)
        if any(row[0] == SPREADING for row in rows):
            return (np.full_like(states, np.inf),)
        return (np.where(states == NOT_A_NUMBER, np.float32("nan"), states),)

    def check(self):
        pass

    def _stumble(self, first: set[int], tokens: int) -> None:
        if self.broken or POISON in first:
            raise RuntimeError("a poisoned pass")
        if PANIC in first:
            raise Panic
        if tokens > self.room:
            raise OutOfMemory(f"Backend error: out of memory for {tokens} tokens")

    async def running(self) -> None:
        """Wait until another pass has begun."""
        assert await asyncio.to_thread(self.entered.acquire, timeout=TIMEOUT_S)


def sequence(*ids: int) -> Encoded:
    """An input with these tokens."""
    count = len(ids)
    return Encoded(np.array(ids, dtype=np.int64), np.zeros(count, np.int64), np.zeros(count, np.bool_), count)


@contextmanager
def engine_of(
    backend: EchoBackend,
    *,
    workers: int = 1,
    tokens: int = 64,
    permits: int = 8,
    cache_mb: int = 0,
    registry: Registry | None = None,
) -> Iterator[Engine]:
    """A running engine on a backend, closed at the end of the block."""
    settings = EngineSettings(
        worker_threads=workers, batch_tokens=tokens, max_concurrent_requests=permits, cache_mb=cache_mb
    )
    model = LoadedModel(SPEC, TOKENIZATION, backend, EmbeddingPooler(SPEC))
    engine = Engine(model, settings, registry or Registry(TEI))
    engine.start()
    try:
        yield engine
    finally:
        backend.gate.set()
        engine.close()


async def queue_up() -> None:
    """Let new tasks run until they wait, which takes one turn of the loop."""
    await asyncio.sleep(0)


def run(coroutine):
    """Run a coroutine with a time limit."""
    return asyncio.run(asyncio.wait_for(coroutine, TIMEOUT_S))
