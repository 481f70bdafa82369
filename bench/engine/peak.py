"""``python -m bench.engine.peak SECONDS ROUNDS``: the engine's share of a core's sgemm peak, in one process.

The peak is the fastest of numpy's float32 products of the models' shapes, with one thread. The products and the engine
take turns call by call, so that a machine that slows down affects both. Each round lasts for SECONDS of the engine's
CPU time and gives a ratio. Times are CPU times of the process, which other processes on the core do not affect.
"""

import asyncio
import json
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self

import numpy as np

from bench.engine.folders import write_model
from bench.engine.work import MINILM, WIDE, Shape
from bench.measuring.texts import paragraphs
from embedfleet.engine.compute.output import Output
from embedfleet.engine.engine import Engine, load
from embedfleet.engine.settings import EngineSettings
from embedfleet.engine.text.encoded import Encoded
from embedfleet.metrics import TEI, Registry

_SHAPES = ((512, 384, 1536), (512, 1536, 384), (512, 1024, 4096), (512, 4096, 1024), (1024, 1024, 1024))
_TURN_S = 0.02  # seconds of a product's turn
_PAUSE_S = 0.15  # seconds between two turns, which are left to the core's other work


class Product:
    """A matrix product of one shape, with its operations and CPU time so far."""

    def __init__(self, rows: int, inner: int, columns: int) -> None:
        self._left, self._right = np.ones((rows, inner), np.float32), np.ones((inner, columns), np.float32)
        self._out = np.empty((rows, columns), np.float32)
        self._flops = 2 * rows * inner * columns
        self._done, self._elapsed = 0, 0.0

    @property
    def rate(self) -> float:
        """Operations per second of CPU time."""
        return self._done / self._elapsed

    def turn(self) -> None:
        """Run once to fill the caches, and then measure for a moment."""
        np.matmul(self._left, self._right, self._out)
        started = time.thread_time()
        while (elapsed := time.thread_time() - started) < _TURN_S:
            np.matmul(self._left, self._right, self._out)
            self._done += self._flops
        self._elapsed += elapsed


def _products() -> list[Product]:
    return [Product(*shape) for shape in _SHAPES]


class Sampling(threading.Thread):
    """A thread that measures products on one core at intervals, beside the core's other work, until the block ends."""

    def __init__(self, core: int) -> None:
        super().__init__(name="peak")
        self._core = core
        self._products = _products()
        self._over = threading.Event()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self.join()

    @property
    def peak(self) -> float:
        """Operations per second of CPU time of the fastest product."""
        return max(product.rate for product in self._products)

    def run(self) -> None:
        """Measure each product at least once."""
        os.sched_setaffinity(0, {self._core})  # this thread alone
        turns = 0
        while turns < len(self._products) or not self._over.is_set():
            self._products[turns % len(self._products)].turn()
            turns += 1
            self._over.wait(_PAUSE_S)


def mixed_texts(engine: Engine, shape: Shape) -> Callable[[], int]:
    """Make a function that tokenizes and embeds the next 32 real paragraphs, and returns its operations."""
    texts = paragraphs(192)
    place = 0

    def embed() -> int:
        nonlocal place
        mine = [texts[(place + number) % len(texts)] for number in range(32)]
        place += 32
        return sum(shape.flops(len(item.ids)) for item in asyncio.run(_embed(engine, mine)))

    return embed


def even_tokens(engine: Engine, shape: Shape, tokens: int) -> Callable[[], int]:
    """Make a function that embeds four different inputs of ``tokens`` tokens, and returns its operations."""
    place = 0

    def embed() -> int:
        nonlocal place
        place += 4
        inputs = [_input(1000 + place + number, tokens) for number in range(4)]
        asyncio.run(_infer(engine, inputs))
        return 4 * shape.flops(tokens)

    return embed


async def _embed(engine: Engine, texts: Sequence[str]) -> list[Encoded]:
    encoded = await engine.encode(texts, truncate=True, direction="right", prompt=None)
    await engine.infer(encoded, (Output.VECTOR,))
    return encoded


async def _infer(engine: Engine, inputs: Sequence[Encoded]) -> None:
    await engine.infer(inputs, (Output.VECTOR,))


def _input(first: int, tokens: int) -> Encoded:
    ids = 1000 + (first * 7919 + np.arange(tokens, dtype=np.int64) * 31) % 20_000
    return Encoded(ids, np.zeros(tokens, np.int64), np.zeros(tokens, np.bool_), tokens)


def measure(work: Callable[[], int], seconds: float) -> tuple[float, float]:
    """Operations per second of ``work``, which returns its operations, and of the fastest product, in turns."""
    products = _products()
    done, elapsed = 0, 0.0
    while elapsed < seconds:
        started = time.process_time()
        done += work()
        elapsed += time.process_time() - started
        for product in products:
            product.turn()
    return done / elapsed, max(product.rate for product in products)


def main() -> None:
    """Print the median shares of the peak as JSON, for MiniLM on mixed texts and a wide model at 128 tokens."""
    seconds, rounds = float(sys.argv[1]), int(sys.argv[2])
    with tempfile.TemporaryDirectory() as folder:
        write_model(Path(folder) / "wide", WIDE, vocabulary=30_522)
        packed = f"{folder}/packed"  # as in a fleet
        minilm = load(EngineSettings(packed_dir=packed), Registry(TEI))
        wide = load(EngineSettings(model=f"{folder}/wide", packed_dir=packed), Registry(TEI))
        works = {
            "of_sgemm_peak": mixed_texts(minilm, MINILM),
            "of_sgemm_peak_1024": even_tokens(wide, WIDE, 128),
        }
        found: dict[str, list[tuple[float, float]]] = {}
        for name, work in works.items():
            work()
            found[name] = [measure(work, seconds) for _ in range(rounds)]
        minilm.close()
        wide.close()
    figures = {name: [own / peak for own, peak in pairs] for name, pairs in found.items()}
    told = {name: statistics.median(values) for name, values in figures.items()}
    print(json.dumps(told | {"rounds": figures}), flush=True)


if __name__ == "__main__":
    main()
