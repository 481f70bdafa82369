"""A backend that answers with what it was asked, and stumbles over the tokens that it is told to."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from embedfleet.engine.batching.choosing import BatchLimits
from embedfleet.engine.compute.embedding_pooler import EmbeddingPooler
from embedfleet.engine.engine import Engine
from embedfleet.engine.model.builtin import builtin_model
from embedfleet.engine.model.spec import read_model
from embedfleet.engine.text.tokenization import Encoded, Tokenization
from embedfleet.errors import OutOfMemory
from embedfleet.metrics import TEI, Registry

TIMEOUT_S = 20
SPEC = read_model(builtin_model())
TOKENIZATION = Tokenization(SPEC.tokenizer_file)
# First tokens that a backend stumbles over. `SPREADING` makes every row of its pass not finite, as a grid can.
POISON, PANIC, NOT_A_NUMBER, SPREADING = 13, 14, 15, 16


class Panic(BaseException):
    """No Exception, as what native code raises when it panics."""


class EchoBackend:
    """States are the ids themselves, two wide; passes wait for `gate`.

    Attributes:
        batches: the inputs of each pass so far, those that failed among them.
        broken: every pass fails.
        room: more tokens than these do not fit into memory.
    """

    precision = "float32"
    padding_free = False

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
        """Return once another pass has begun."""
        assert await asyncio.to_thread(self.entered.acquire, timeout=TIMEOUT_S)


def sequence(*ids: int) -> Encoded:
    """An input of these tokens."""
    count = len(ids)
    return Encoded(np.array(ids, dtype=np.int64), np.zeros(count, np.int64), np.zeros(count, np.bool_), count)


@contextmanager
def engine_of(
    backend: EchoBackend,
    *,
    workers: int = 1,
    tokens: int = 64,
    permits: int = 8,
    cache_bytes: int = 0,
    registry: Registry | None = None,
) -> Iterator[Engine]:
    """An engine over a backend, ended at the end of the block."""
    engine = Engine(
        SPEC,
        TOKENIZATION,
        backend,
        EmbeddingPooler(SPEC),
        late_interaction=False,
        workers=workers,
        tokenization_workers=1,
        limits=BatchLimits(tokens=tokens),
        max_concurrent_requests=permits,
        registry=registry or Registry(TEI),
        cache_bytes=cache_bytes,
    )
    try:
        yield engine
    finally:
        backend.gate.set()
        engine.close()


async def queue_up() -> None:
    """Let the tasks just made run up to where they wait: one turn of the loop."""
    await asyncio.sleep(0)


def run(coroutine):
    """A coroutine's result, in good time."""
    return asyncio.run(asyncio.wait_for(coroutine, TIMEOUT_S))
