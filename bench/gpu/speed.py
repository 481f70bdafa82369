"""``python -m bench.gpu.speed STEP``: tokens per second of one contestant, as lines of JSON.

- ``engine``: our engine, once in one process without HTTP, as sentence-transformers is used, and once over HTTP;
- ``sentence-transformers``: its `encode`, with all texts at once;
- ``tei``: TEI over HTTP.

The texts are paragraphs of real English, tokens are counted by the model's own tokenizer, and nothing is cached.
"""

import argparse
import asyncio
import json
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any

from bench.engine.cells import Cell
from bench.engine.cells import measure as measure_over_http
from bench.engine.contestants import Server
from bench.engine.texts import Texts
from bench.gpu.servers import BATCH_TOKENS, our_engine, tei
from embedfleet.engine.engine import Engine, load
from embedfleet.engine.model.source import resolve_model
from embedfleet.engine.settings import EngineSettings
from embedfleet.metrics import TEI, Registry

CELLS = (Cell(16, 32), Cell(64, 1))
"""Clients and texts per request over HTTP: indexing, and queries."""
_PACKAGE = "sentence-transformers"
_INSTALL = f"not installed: pip install {_PACKAGE}"


def engine_in_process(options: argparse.Namespace, texts: Texts) -> float:
    """Tokens per second of our engine without HTTP."""
    settings = EngineSettings(
        model=options.model,
        backend="torch",
        device=options.device,
        precision=options.precision,
        batch_tokens=BATCH_TOKENS,
        tokenization_workers=4,
    )
    engine = load(settings, Registry(TEI))
    try:
        return asyncio.run(_embed_for(engine, texts, options.seconds))
    finally:
        engine.close()


async def _embed_for(engine: Engine, texts: Texts, seconds: float) -> float:
    """Embed requests of 32 texts, sixteen at a time."""
    tokens = place = 0
    started = time.perf_counter()

    async def client() -> None:
        nonlocal tokens, place
        while time.perf_counter() - started < seconds:
            mine = [texts.real[(place + number) % len(texts.real)] for number in range(32)]
            place += 32
            encoded = await engine.encode(mine, truncate=True, direction="right", prompt=None)
            await engine.infer(encoded)
            tokens += sum(texts.tokens[text] for text in mine)

    await asyncio.gather(*(client() for _ in range(16)))
    return tokens / (time.perf_counter() - started)


def sentence_transformers(options: argparse.Namespace, texts: Texts) -> float:
    """Tokens per second of sentence-transformers in the same precision.

    Raises:
        RuntimeError: It is not installed.
    """
    try:
        import torch  # noqa: PLC0415 - rivals are imported where they are measured
        from sentence_transformers import SentenceTransformer  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise RuntimeError(_INSTALL) from error
    kind = getattr(torch, options.precision)
    model = SentenceTransformer(options.model, device=options.device, model_kwargs={"torch_dtype": kind})
    some = texts.real[:512]
    model.encode(some[:32])
    tokens, started = 0, time.perf_counter()
    while time.perf_counter() - started < options.seconds:
        model.encode(some, batch_size=options.batch)
        tokens += sum(texts.tokens[text] for text in some)
    return tokens / (time.perf_counter() - started)


def over_http(running: AbstractContextManager[Server], texts: Texts, seconds: float) -> Iterator[tuple[str, float]]:
    """Tokens per second of a server at each of `CELLS`."""
    with running as server:
        for cell in CELLS:
            measure_over_http([server], cell, texts, min(1.0, seconds))  # the first requests choose kernels
            yield f"HTTP {cell.name}", measure_over_http([server], cell, texts, seconds).tokens_per_s


def rows(step: str, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Measure a step; yields a row for each way of measuring."""
    texts = Texts(options.model)
    if step == "engine":
        yield {"contestant": "embedfleet", "cell": "in process", "tokens_per_s": engine_in_process(options, texts)}
        ours = our_engine(options.model, options.device, options.precision, options.start_s)
        for cell, rate in over_http(ours, texts, options.seconds):
            yield {"contestant": "embedfleet", "cell": cell, "tokens_per_s": rate}
    elif step == _PACKAGE:
        yield {"contestant": step, "cell": "in process", "tokens_per_s": sentence_transformers(options, texts)}
    else:
        theirs = tei(options.model, options.device, options.precision, options.start_s)
        for cell, rate in over_http(theirs, texts, options.seconds):
            yield {"contestant": "TEI", "cell": cell, "tokens_per_s": rate}


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that a step of this benchmark shares with the others."""
    parser.add_argument("--model", required=True)
    parser.add_argument("--device", required=True)
    parser.add_argument("--precision", required=True)
    parser.add_argument("--seconds", type=float, required=True, help="length of one measurement")
    parser.add_argument("--start-s", type=float, required=True, help="time after which a server must answer")


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=["engine", _PACKAGE, "tei"])
    arguments(parser)
    parser.add_argument("--batch", type=int, default=128, help="batch_size of sentence-transformers")
    options = parser.parse_args()
    options.model = str(resolve_model(options.model))
    for row in rows(options.step, options):
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
