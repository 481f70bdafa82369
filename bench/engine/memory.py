"""``python -m bench.engine.memory MODEL ...``: load time and memory of a first and a second engine of each model.

This runs in a separate process that imports nothing heavy: a page shared with the engines would count only in part as
theirs. Memory is from the kernel's smaps_rollup. PSS divides a page by the processes that map it. Private_Dirty counts
the pages that only one process maps and that it has written: its heap, but not weights that are pages of a file. Other
processes that map the same libraries lower the first engine's PSS and make the second one look more expensive, so there
should be none.

Memory is measured after the engines have worked and then been idle for some seconds.

Replicas of a fleet map one copy of the packed weights (`engine.onnx.packed_model`). The first one to start makes it,
and keeps on its heap the memory that this takes; from the next start on all of them only map it.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.request import Request, urlopen

_STOP_S = 30.0
_REST_S = 7.0  # longer than the idle time after which an engine releases its heap
_IMPORTS = """
import sys
import asyncio, click, numpy, onnxruntime, orjson, tokenizers, uvloop
from pathlib import Path
from embedfleet.engine.model.builtin import builtin_model
folder = builtin_model() if sys.argv[1] == "builtin" else Path(sys.argv[1])
for file in folder.glob("*.safetensors"):
    with file.open("rb", buffering=0) as stream:
        space = bytearray(1 << 20)
        while stream.readinto(space):
            pass
"""
_TEXTS = ["word " * count for count in (1, 2, 4, 8, 16, 32, 64, 128)]


@dataclass(frozen=True, slots=True)
class Engine:
    """A running engine that has answered.

    Attributes:
        load_s: Seconds from the start of its process to its first answer.
    """

    pid: int
    port: int
    load_s: float

    def work(self) -> None:
        """Send it some texts, and then leave it idle for some seconds."""
        _embed(self.port, _TEXTS)
        time.sleep(_REST_S)

    def kilobytes(self, name: str) -> int:
        """The number in a line of its smaps_rollup, in KB."""
        lines = Path(f"/proc/{self.pid}/smaps_rollup").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def _embed(port: int, texts: list[str]) -> None:
    body = json.dumps({"inputs": texts, "truncate": True}).encode()
    request = Request(f"http://127.0.0.1:{port}/embed", body, {"content-type": "application/json"})
    with urlopen(request, timeout=600) as answer:
        answer.read()


@contextmanager
def engine(core: int, model: str, packed: str = "") -> Iterator[Engine]:
    """Run an engine on one core; it has answered when the block begins."""
    reader, writer = os.pipe()
    started = time.perf_counter()
    command = [
        sys.executable,
        "-m",
        "embedfleet",
        "engine",
        "--model",
        model,
        "--log-level",
        "warning",
        "--packed-dir",
        packed,
    ]
    process = subprocess.Popen(
        ["taskset", "-c", str(core), *command, "--ready-fd", str(writer)],
        pass_fds=(writer,),
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    os.close(writer)
    try:
        with os.fdopen(reader) as ready:
            line = ready.readline()
        if not line:
            raise RuntimeError(f"the engine did not start with {model}, exit code {process.wait()}")
        port = json.loads(line)["port"]
        _embed(port, ["first"])
        yield Engine(process.pid, port, time.perf_counter() - started)
    finally:
        process.terminate()
        process.wait(_STOP_S)


def look(model: str) -> dict[str, float]:
    """Seconds to the first answer, and megabytes of a single engine and of two engines of a fleet."""
    imports_s = statistics.median(_imports_s(model) for _ in range(5))
    with engine(0, model) as lone:
        lone.work()
        found = {
            "load_s": lone.load_s,
            "imports_s": imports_s,
            "pss_mb": lone.kilobytes("Pss") / 1000,
            "heap_mb": lone.kilobytes("Private_Dirty") / 1000,
        }
    with TemporaryDirectory() as packed:
        first = _two(model, packed)
        again = _two(model, packed)
    found["load_over_imports"] = again["load_s"] / imports_s
    return (
        found
        | {f"first_start_{name}": value for name, value in first.items()}
        | {f"next_start_{name}": value for name, value in again.items()}
    )


def _imports_s(model: str) -> float:
    """Seconds from the start of a Python to its end that imports the libraries and reads the weights, on one core."""
    started = time.perf_counter()
    subprocess.run(["taskset", "-c", "0", sys.executable, "-c", _IMPORTS, model], check=True)
    return time.perf_counter() - started


def _two(model: str, packed: str) -> dict[str, float]:
    with engine(0, model, packed) as first:
        first.work()
        alone = first.kilobytes("Pss")
        heap = first.kilobytes("Private_Dirty")
        with engine(1, model, packed) as second:
            second.work()
            adds = first.kilobytes("Pss") + second.kilobytes("Pss") - alone
            return {
                "load_s": first.load_s,
                "second_load_s": second.load_s,
                "pss_mb": alone / 1000,
                "heap_mb": heap / 1000,
                "second_adds_mb": adds / 1000,
                "second_replica_memory": adds / alone,
            }


if __name__ == "__main__":
    print(json.dumps([look(model) for model in sys.argv[1:]]), flush=True)
