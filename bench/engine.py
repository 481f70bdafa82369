"""``python -m bench.engine [--quick] [--infinity VENV]``: tokens per second over HTTP against plain ONNX Runtime.

Contestants, all with all-MiniLM-L6-v2 in float32 on core 0, the client on core 1:

- ``plain``: a loop in one process, no HTTP: tokenize a text, run it, pool it; the next text.
- ``engine``: our model server.
- ``infinity``: infinity-emb (torch) from a virtual environment of its own, if one is given.

Each cell is clients x texts per request over the same paragraphs of real English. Rounds interleave the contestants;
a ratio is that of the medians. Every contestant's vectors are compared with the plain loop's before it is measured.
"""

import argparse
import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import orjson

from bench.process import free_port
from bench.report import missing, report, say
from bench.texts import paragraphs
from embedfleet.engine.backend import OnnxBackend, Output
from embedfleet.engine.builtin import builtin_model
from embedfleet.engine.model import read_model
from embedfleet.engine.pooling import normalize, pool
from embedfleet.engine.tokenization import TextLimits, Tokenization
from embedfleet.http.client import fetch

CELLS = ((1, 1), (16, 1), (4, 32))
SERVER_CORE, CLIENT_CORE = 0, 1


class Plain:
    """The loop, and the yardstick of tokens and vectors."""

    def __init__(self) -> None:
        self.spec = read_model(builtin_model())
        self._tokenization = Tokenization(self.spec.tokenizer_file)
        self._backend = OnnxBackend(self.spec)
        self._limits = TextLimits(self.spec.max_input_length, truncate=True, direction="right")

    def tokens(self, text: str) -> int:
        """How many tokens the model reads of a text."""
        return len(self._tokenization.encode([text], self._limits, None)[0].ids)

    def embed(self, text: str) -> np.ndarray:
        """One text's vector."""
        (encoded,) = self._tokenization.encode([text], self._limits, None)
        lengths = np.array([len(encoded.ids)])
        (states,) = self._backend.forward(encoded.ids, encoded.types, lengths, (Output.STATES,))
        assert self.spec.pooling is not None
        return normalize(pool(states, self.spec.pooling))

    def measure(self, texts: list[str], seconds: float) -> float:
        """Tokens per second over texts in turn."""
        os.sched_setaffinity(0, {SERVER_CORE})
        try:
            done, started, number = 0, time.perf_counter(), 0
            while (elapsed := time.perf_counter() - started) < seconds:
                text = texts[number % len(texts)]
                self.embed(text)
                done += COUNTS[text]
                number += 1
        finally:
            os.sched_setaffinity(0, {CLIENT_CORE})
        return done / elapsed


COUNTS: dict[str, int] = {}


class Server:
    """An HTTP contestant."""

    def __init__(self, name: str, port: int, path: str, key: str) -> None:
        self.name = name
        self.url = f"http://127.0.0.1:{port}{path}"
        self._key = key

    async def vectors(self, texts: list[str]) -> list[list[float]]:
        """Vectors of texts."""
        async with self.connection() as ask:
            answer = orjson.loads(await ask(texts))
        return answer if self._key == "inputs" else [row["embedding"] for row in answer["data"]]

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Callable[[list[str]], Awaitable[bytes]]]:
        """A kept connection, as clients have it: a function from texts to the reply's body."""
        parts = urlsplit(self.url)
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)

        async def ask(texts: list[str]) -> bytes:
            body = orjson.dumps({self._key: texts} if self._key == "inputs" else {self._key: texts, "model": "minilm"})
            head = f"POST {parts.path} HTTP/1.1\r\nhost: h\r\ncontent-type: application/json\r\n"
            writer.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
            answer = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = int(answer.partition(b"content-length: ")[2].partition(b"\r")[0])
            content = await reader.readexactly(length)
            if not answer.startswith(b"http/1.1 200"):
                raise RuntimeError(f"{self.name} answered {answer[:40]!r} {content[:200]!r}")
            return content

        try:
            yield ask
        finally:
            writer.close()

    async def measure(self, texts: list[str], clients: int, per_request: int, seconds: float) -> float:
        """Tokens per second: closed loop, counted until the last request that was begun in time has ended."""
        started = time.perf_counter()
        done = 0
        place = 0

        async def client() -> None:
            nonlocal done, place
            async with self.connection() as ask:
                while time.perf_counter() - started < seconds:
                    mine = [texts[(place + n) % len(texts)] for n in range(per_request)]
                    place += per_request
                    await ask(mine)
                    done += sum(COUNTS[text] for text in mine)

        await asyncio.gather(*(client() for _ in range(clients)))
        return done / (time.perf_counter() - started)


@contextmanager
def running(command: list[str], url: str, name: str) -> Iterator[None]:
    """A server's process, pinned, from when it answers until the end of the block."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
    folder = tempfile.TemporaryDirectory()  # rivals leave files where they run
    process = subprocess.Popen(
        ["taskset", "-c", str(SERVER_CORE), *command],
        cwd=folder.name,
        env=environment | {"DO_NOT_TRACK": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 180
        while time.monotonic() < deadline and process.poll() is None:
            try:
                if asyncio.run(fetch(url, timeout_s=5)).status == 200:
                    break
            except Exception:  # noqa: BLE001 - whatever is wrong, it is not there yet
                time.sleep(0.2)
        else:
            raise RuntimeError(f"{name} did not start")
        yield
    finally:
        process.terminate()
        process.wait(30)
        folder.cleanup()


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="under a minute")
    parser.add_argument(
        "--infinity",
        metavar="VENV",
        type=os.path.abspath,
        default=os.environ.get("INFINITY_VENV"),
        help="with infinity-emb",
    )
    options = parser.parse_args()
    if (os.cpu_count() or 1) < 2:
        missing("two cores are needed, one for the server and one for the client", "run it on a larger machine")
    os.sched_setaffinity(0, {CLIENT_CORE})
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # the loop is one thread
    rounds, seconds = (1, 3.0) if options.quick else (5, 6.0)
    texts = paragraphs(200)
    plain = Plain()
    COUNTS.update({text: plain.tokens(text) for text in texts})
    say(f"200 texts, {sum(COUNTS.values())} tokens, median {statistics.median(COUNTS.values()):.0f}")
    figures = measure(plain, texts, rounds, seconds, options.infinity)
    tell(figures, options.quick)


def measure(
    plain: Plain, texts: list[str], rounds: int, seconds: float, infinity: str | None
) -> dict[str, list[float]]:
    """Contestant and cell → a figure per round."""
    figures: dict[str, list[float]] = {}
    with ExitStack() as stack:
        servers = [stack.enter_context(our_engine())]
        if infinity and (Path(infinity) / "bin" / "infinity_emb").exists():
            servers.append(stack.enter_context(infinity_emb(infinity)))
        else:
            say("infinity-emb is not installed: its column is null")
        for server in servers:
            check(server, plain, texts)
        for number in range(rounds):
            say(f"round {number + 1} of {rounds}")
            for clients, per_request in CELLS:
                figures.setdefault("plain", []).append(plain.measure(texts, seconds))
                for server in servers:
                    rate = asyncio.run(server.measure(texts, clients, per_request, seconds))
                    figures.setdefault(f"{server.name} {clients}x{per_request}", []).append(rate)
    return figures


@contextmanager
def our_engine() -> Iterator[Server]:
    """Our model server with the built-in model."""
    port = free_port()
    command = [sys.executable, "-m", "embedfleet", "engine", "--port", str(port), "--log-level", "warning"]
    with running(command, f"http://127.0.0.1:{port}/health", "our engine"):
        yield Server("engine", port, "/embed", "inputs")


@contextmanager
def infinity_emb(venv: str) -> Iterator[Server]:
    """infinity-emb with the same files."""
    port = free_port()
    command = [f"{venv}/bin/infinity_emb", "v2", "--model-id", str(builtin_model()), "--served-model-name", "minilm"]
    command += ["--engine", "torch", "--device", "cpu", "--dtype", "float32"]
    command += ["--port", str(port), "--host", "127.0.0.1"]
    with running(command, f"http://127.0.0.1:{port}/health", "infinity-emb"):
        yield Server("infinity", port, "/embeddings", "input")


def check(server: Server, plain: Plain, texts: list[str]) -> None:
    """The contestant computes the same model."""
    short = [text for text in texts if COUNTS[text] < 200][:8]
    vectors = np.array(asyncio.run(server.vectors(short)))
    distance = float(np.abs(vectors - np.array([plain.embed(text) for text in short])).max())
    say(f"{server.name}: vectors differ from the plain loop's by at most {distance:.1e}")
    if distance > 1e-3:
        raise RuntimeError(f"{server.name} computes something else")


def tell(figures: dict[str, list[float]], quick: bool) -> None:
    """The table, and the last line."""
    medians = {name: statistics.median(values) for name, values in figures.items()}
    for name, value in medians.items():
        say(f"{name:16} {value:7.0f} tokens/s  {min(figures[name]):.0f} … {max(figures[name]):.0f}")
    cells = [f"{clients}x{per_request}" for clients, per_request in CELLS]
    over_plain = {cell: medians[f"engine {cell}"] / medians["plain"] for cell in cells}
    over_infinity = {
        cell: medians[f"engine {cell}"] / medians[f"infinity {cell}"] for cell in cells if f"infinity {cell}" in medians
    }
    ratios = {
        "over_plain_ort": round(min(over_plain.values()), 3),
        "over_infinity": round(min(over_infinity.values()), 3) if over_infinity else None,
    }
    report(
        ratios=ratios,
        over_plain_ort={cell: round(value, 3) for cell, value in over_plain.items()},
        over_infinity={cell: round(value, 3) for cell, value in over_infinity.items()},
        tokens_per_s={name: round(value) for name, value in medians.items()},
        quick=quick,
    )


if __name__ == "__main__":
    main()
