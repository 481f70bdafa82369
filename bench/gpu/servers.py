"""Model servers on one device: our engine's, and TEI's where its program or its image is installed."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bench.engine.contestants import Server
from bench.measuring.process import answers, end, free_port

_TEI = "text-embeddings-router"
_IMAGE = "ghcr.io/huggingface/text-embeddings-inference"
_STOP_S = 10.0
BATCH_TOKENS = 16_384
"""Most tokens of a pass of each server."""


@contextmanager
def our_engine(model: str, device: str, precision: str, start_s: float) -> Iterator[Server]:
    """Run our engine with PyTorch."""
    command = [sys.executable, "-m", "embedfleet", "engine", "--model", model, "--backend", "torch"]
    command += ["--device", device, "--precision", precision, "--log-level", "warning"]
    command += ["--batch-tokens", str(BATCH_TOKENS), "--max-concurrent-requests", "8192", "--port"]
    with _running("embedfleet", [*command, "{port}"], start_s) as server:
        yield server


@contextmanager
def tei(model: str, device: str, precision: str, start_s: float) -> Iterator[Server]:
    """Run TEI.

    Raises:
        RuntimeError: Neither its program nor its image is installed, or it does not start.
    """
    flags = ["--dtype", precision, "--max-batch-tokens", str(BATCH_TOKENS), "--max-concurrent-requests", "8192"]
    if program := shutil.which(_TEI):
        command = [program, "--model-id", model, *flags, "--hostname", "127.0.0.1", "--port", "{port}"]
    else:
        image, number = _image(), device.partition(":")[2] or "0"
        command = ["docker", "run", "--rm", "--gpus", f"device={number}", "-p", "127.0.0.1:{port}:80"]
        command += ["-v", f"{Path(model).resolve()}:/model:ro", image, "--model-id", "/model", *flags]
    with _running("TEI", command, start_s) as server:
        yield server


def _image() -> str:
    """The name of TEI's image for GPUs in the local daemon."""
    if shutil.which("docker"):
        asked = ["docker", "images", _IMAGE, "--format", "{{.Repository}}:{{.Tag}}"]
        listed = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.split()
        for name in listed:
            if not name.rpartition(":")[2].startswith("cpu"):
                return name
    raise RuntimeError(f"not installed: neither the program {_TEI} nor an image {_IMAGE} is here")


@contextmanager
def _running(name: str, command: Sequence[str], start_s: float) -> Iterator[Server]:
    """Run a server; it answers when the block begins.

    Args:
        name: Name of the contestant.
        command: Command and arguments; ``{port}`` stands for the port.
        start_s: Time after which it must answer.
    """
    port = free_port()
    quiet = {"HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1", "TOKENIZERS_PARALLELISM": "true"}
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            [part.replace("{port}", str(port)) for part in command],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)} | quiet,
            stdout=log,
            stderr=log,
        )
        try:
            if not answers(f"http://127.0.0.1:{port}/health", process, start_s):
                log.seek(0)
                said = log.read().decode(errors="replace").strip().splitlines()
                raise RuntimeError(f"{name} did not start within {start_s:.0f} s: {said[-1] if said else 'no output'}")
            yield Server(name, f"http://127.0.0.1:{port}/embed", "inputs", process.pid)
        finally:
            end(process)
