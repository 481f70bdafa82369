"""``python -m bench.engine.int8 [--seconds S] [--rounds N]``: int8 compared with float32, on one core.

Both run in one process and take turns round by round, tokenizing included; each round gives a ratio of tokens per
second of CPU time. The models are MiniLM on mixed real paragraphs and a random model of width 1024 at 128 tokens per
input. For MiniLM the report also has the cosine distances between both vectors of each paragraph, and the share of
paragraphs whose nearest neighbour is the same. The processor needs VNNI or AMX.
"""

import argparse
import asyncio
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from bench.engine.folders import write_model
from bench.engine.peak import even_tokens, mixed_texts
from bench.engine.work import MINILM, WIDE
from bench.measuring.report import report, say
from bench.measuring.texts import paragraphs
from embedfleet.engine.compute.output import Output
from embedfleet.engine.compute.pooling import normalize
from embedfleet.engine.engine import Engine, load
from embedfleet.engine.settings import EngineSettings
from embedfleet.metrics import TEI, Registry

_Work = Callable[[], int]


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=1.5, help="seconds of each engine in a round")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    os.sched_setaffinity(0, {0})
    with tempfile.TemporaryDirectory() as folder:
        write_model(Path(folder) / "wide", WIDE, vocabulary=30_522)
        minilm, wide = _both("builtin"), _both(f"{folder}/wide")
        found = {
            "minilm": _ratios([mixed_texts(engine, MINILM) for engine in minilm], options.seconds, options.rounds),
            "wide_128": _ratios([even_tokens(engine, WIDE, 128) for engine in wide], options.seconds, options.rounds),
        }
        error = _error(minilm)
        for engine in (*minilm, *wide):
            engine.close()
    ratios = {f"int8_over_float32_{name}": round(statistics.median(values), 2) for name, values in found.items()}
    say("  ".join(f"{name} {value}" for name, value in (ratios | error).items()))
    report(ratios=ratios, error=error, rounds=found)


def _both(model: str) -> tuple[Engine, Engine]:
    """The engine in float32 and in int8."""
    exact = load(EngineSettings(model=model, precision="float32"), Registry(TEI))
    return exact, load(EngineSettings(model=model, precision="int8"), Registry(TEI))


def _ratios(works: Sequence[_Work], seconds: float, rounds: int) -> list[float]:
    for work in works:
        work()
    exact, int8 = works
    return [_rate(int8, seconds) / _rate(exact, seconds) for _ in range(rounds)]


def _rate(work: Callable[[], int], seconds: float) -> float:
    """Operations per second of CPU time, over whole calls of ``work``, which returns its operations."""
    started, done = time.process_time(), 0
    while (elapsed := time.process_time() - started) < seconds:
        done += work()
    return done / elapsed


def _error(engines: tuple[Engine, Engine]) -> dict[str, float]:
    exact, int8 = (asyncio.run(_vectors(engine)) for engine in engines)
    distances = np.square(exact - int8).sum(axis=1) / 2
    same = _nearest(exact) == _nearest(int8)
    return {"worst": float(distances.max()), "mean": float(distances.mean()), "same_nearest": float(same.mean())}


async def _vectors(engine: Engine) -> np.ndarray:
    encoded = await engine.encode(paragraphs(192), truncate=True, direction="right", prompt=None)
    inference = await engine.infer(encoded, (Output.VECTOR,))
    vectors = np.array([rows for (rows,) in inference.outputs])
    return normalize(vectors).astype(np.float64)


def _nearest(vectors: np.ndarray) -> np.ndarray:
    similarities = vectors @ vectors.T
    np.fill_diagonal(similarities, -1)
    nearest: np.ndarray = np.argmax(similarities, axis=1)
    return nearest


if __name__ == "__main__":
    main()
