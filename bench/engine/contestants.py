"""Model servers as processes on given cores: ours, infinity-emb, sentence-transformers behind FastAPI."""

import asyncio
import os
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import orjson

from bench.measuring.process import answers, end, free_port
from bench.measuring.versions import environment
from embedfleet.engine.model.builtin import builtin_model

_START_S, _STOP_S = 180.0, 30.0
_APP = Path(__file__).parent / "sentence_transformers_app.py"
Ask = Callable[[Sequence[str]], Awaitable[bytes]]


@dataclass(frozen=True, slots=True)
class Server:
    """A running contestant.

    Attributes:
        key: Key of the texts in a request: TEI's ``inputs`` or OpenAI's ``input``.
        pid: Process id; None for a server that we did not start.
    """

    name: str
    url: str
    key: str
    pid: int | None

    async def vectors(self, texts: Sequence[str]) -> list[list[float]]:
        """Vectors of texts."""
        async with self.connection() as ask:
            answer = orjson.loads(await ask(texts))
        return answer if self.key == "inputs" else [row["embedding"] for row in answer["data"]]

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Ask]:
        """Open a kept-alive connection; gives a function from texts to the reply's body."""
        parts = urlsplit(self.url)
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)

        async def ask(texts: Sequence[str]) -> bytes:
            body = orjson.dumps({self.key: texts} if self.key == "inputs" else {self.key: texts, "model": "minilm"})
            head = f"POST {parts.path} HTTP/1.1\r\nhost: h\r\ncontent-type: application/json\r\n"
            writer.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
            answer = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = answer.partition(b"content-length: ")[2].partition(b"\r")[0]
            if not length.isdigit():
                raise RuntimeError(f"{self.name} answered {answer[:40]!r} without a content-length")
            content = await reader.readexactly(int(length))
            if not answer.startswith(b"http/1.1 200"):
                raise RuntimeError(f"{self.name} answered {answer[:40]!r} {content[:200]!r}")
            return content

        try:
            yield ask
        finally:
            writer.close()

    def cpu_s(self) -> float:
        """CPU time of its process so far, in seconds; 0 for a server that we did not start."""
        if self.pid is None:
            return 0.0
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def our_engine(core: int, *, model: str = "builtin", source: Path | None = None) -> Iterator[Server]:
    """Run our engine, with packed weights in a file as in a fleet.

    Args:
        core: Number of the core.
        model: Model to serve.
        source: Source folder; this checkout's by default.
    """
    command = [sys.executable, "-m", "embedfleet", "engine", "--model", model, "--log-level", "warning"]
    command += ["--packed-dir", "packed", "--port"]
    with _running("engine", core, command, path="/embed", key="inputs", source=source) as server:
        yield server


@contextmanager
def padded_session(core: int) -> Iterator[Server]:
    """Run a plain ONNX Runtime session of the padded graph behind our HTTP server, with the same files."""
    command = [sys.executable, "-m", "bench.engine.padded_server", str(builtin_model())]
    root = Path(__file__).parent.parent.parent
    with _running("padded", core, command, path="/embed", key="inputs", source=root) as server:
        yield server


@contextmanager
def infinity_emb(core: int, venv: str) -> Iterator[Server]:
    """Run infinity-emb with the same files."""
    command = [f"{venv}/bin/infinity_emb", "v2", "--model-id", str(builtin_model()), "--served-model-name", "minilm"]
    command += ["--engine", "torch", "--device", "cpu", "--dtype", "float32", "--host", "127.0.0.1", "--port"]
    with _running("infinity", core, command, path="/embeddings", key="input") as server:
        yield server


@contextmanager
def sentence_transformers(core: int, venv: str) -> Iterator[Server]:
    """Run sentence-transformers behind FastAPI and uvicorn with the same files."""
    command = [f"{venv}/bin/python", str(_APP), str(builtin_model())]
    with _running("sentence_transformers", core, command, path="/embed", key="inputs") as server:
        yield server


def versions(venv: str, *packages: str) -> dict[str, str]:
    """Versions of packages in a contestant's environment."""
    asked = f"import importlib.metadata as m; print(*(m.version(name) for name in {packages!r}))"
    told = subprocess.run([f"{venv}/bin/python", "-c", asked], capture_output=True, text=True, check=True)
    return dict(zip(packages, told.stdout.split(), strict=True))


@contextmanager
def _running(
    name: str, core: int, command: list[str], *, path: str, key: str, source: Path | None = None
) -> Iterator[Server]:
    """Run a server on one core; it answers when the block begins."""
    port = free_port()
    threads = {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1"}
    with (
        tempfile.TemporaryDirectory() as folder,
        tempfile.TemporaryFile() as log,
    ):  # Rivals write files there.
        process = subprocess.Popen(
            ["taskset", "-c", str(core), *command, str(port)],
            cwd=folder,
            env=environment(source) | threads,
            stdout=log,
            stderr=log,
        )
        try:
            if not answers(f"http://127.0.0.1:{port}/health", process, _START_S):
                log.seek(0)
                raise RuntimeError(f"{name} did not start:\n{log.read().decode(errors='replace')[-2000:]}")
            yield Server(name, f"http://127.0.0.1:{port}{path}", key, process.pid)
        finally:
            end(process)
