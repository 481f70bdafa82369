"""``python -m bench.engine.peak SECONDS``: how near one core comes to its sgemm peak, in one process.

The peak is the fastest of numpy's float32 products of the shapes that the models have, one thread. It and the engine
take turns, second by second, and each round gives a ratio, so that a machine that slows down slows down both. Times
are of the process on the processor: what others take from the core does not count.
"""

import asyncio
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from bench.engine.folders import write_model
from bench.engine.work import MINILM, WIDE, Shape
from bench.texts import paragraphs
from embedfleet.engine.app import load
from embedfleet.engine.engine import Engine
from embedfleet.engine.output import Output
from embedfleet.engine.settings import EngineSettings
from embedfleet.engine.tokenization import Encoded
from embedfleet.metrics import TEI, Registry

_SHAPES = ((512, 384, 1536), (512, 1536, 384), (512, 1024, 4096), (512, 4096, 1024), (1024, 1024, 1024))
_SHARE_S = 0.3  # of a round that the peak takes, as a share of the seconds


def rate(work: Callable[[], int], seconds: float) -> float:
    """Operations per second of processor time, over whole calls of ``work``, which returns its operations."""
    started, done = time.process_time(), 0
    while (elapsed := time.process_time() - started) < seconds:
        done += work()
    return done / elapsed


def sgemm_peak(seconds: float) -> float:
    """The fastest product's operations per second."""
    share = seconds / len(_SHAPES)
    return max(rate(_product(*shape), share) for shape in _SHAPES)


def _product(rows: int, inner: int, columns: int) -> Callable[[], int]:
    left, right = np.ones((rows, inner), np.float32), np.ones((inner, columns), np.float32)
    out = np.empty((rows, columns), np.float32)

    def multiply() -> int:
        np.matmul(left, right, out)
        return 2 * rows * inner * columns

    return multiply


def mixed_texts(engine: Engine, shape: Shape) -> Callable[[], int]:
    """Tokenize and embed real paragraphs, 32 at a time."""
    texts = paragraphs(192)
    place = 0

    def embed() -> int:
        nonlocal place
        mine = [texts[(place + number) % len(texts)] for number in range(32)]
        place += 32
        return sum(shape.flops(len(item.ids)) for item in asyncio.run(_embed(engine, mine)))

    return embed


def even_tokens(engine: Engine, shape: Shape, tokens: int) -> Callable[[], int]:
    """Embed four unlike inputs of so many tokens."""
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


def ratios(work: Callable[[], int], seconds: float, rounds: int) -> list[float]:
    """Of the peak measured just before and just after, a round each."""
    work()
    found = []
    before = sgemm_peak(_SHARE_S * seconds)
    for _ in range(rounds):
        own = rate(work, seconds)
        after = sgemm_peak(_SHARE_S * seconds)
        found.append(own / max(before, after))
        before = after
    return found


def main() -> None:
    """Print the medians as JSON: of the peak, for MiniLM on mixed texts and a wide model at 128 tokens."""
    seconds, rounds = float(sys.argv[1]), int(sys.argv[2])
    with tempfile.TemporaryDirectory() as folder:
        write_model(Path(folder) / "wide", WIDE, vocabulary=30_522)
        minilm = load(EngineSettings(), Registry(TEI))
        wide = load(EngineSettings(model=f"{folder}/wide"), Registry(TEI))
        figures = {
            "of_sgemm_peak": ratios(mixed_texts(minilm, MINILM), seconds, rounds),
            "of_sgemm_peak_1024": ratios(even_tokens(wide, WIDE, 128), seconds, rounds),
        }
        minilm.close()
        wide.close()
    told = {name: statistics.median(values) for name, values in figures.items()}
    print(json.dumps(told | {"gflops": sgemm_peak(1.0) / 1e9, "rounds": figures}), flush=True)


if __name__ == "__main__":
    main()
