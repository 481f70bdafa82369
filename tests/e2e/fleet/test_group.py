"""In a real control group, cores and memory are those of its limits."""

import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.services.fleet import COMMAND, LIMIT_S, flags, free_ports, run_cli
from tests.services.group import group

MEMORY_BYTES = 1 << 30
pytestmark = pytest.mark.slow


@pytest.fixture
def inside() -> Iterator[list[str]]:
    """First words of a command line that runs in a control group with 0.9 cores and a gigabyte."""
    with contextlib.ExitStack() as stack:
        try:
            enter = stack.enter_context(group(cores=0.9, memory_bytes=MEMORY_BYTES))
        except OSError as error:
            pytest.skip(f"no control group can be made here: {error}")
        yield enter


def doctor(folder: Path, inside: list[str], *arguments: str) -> dict[str, tuple[str, str]]:
    """State and message of every check."""
    done = subprocess.run(
        [*inside, *COMMAND, "doctor", "--json", *arguments], cwd=folder, capture_output=True, text=True, check=False
    )
    return {check["id"]: (check["state"], check["message"]) for check in json.loads(done.stdout)["checks"]}


def test_doctor_reports_cores_and_memory_with_their_limits(tmp_path, inside):
    checks = doctor(tmp_path, inside)
    count = len(os.sched_getaffinity(0))
    state, cores = checks["cores"]
    assert (state, cores.partition(":")[0]) == ("ok", f"1 of {os.cpu_count()} cores")
    assert count == 1 or "cpu." in cores.partition(":")[2]
    assert count == 1 or cores.endswith("allows 0.9")
    state, memory = checks["memory"]
    assert state == "ok"
    assert "of 1.07 GB are left: memory." in memory


def test_up_gives_its_replicas_the_cores_of_the_group(tmp_path, inside):
    command = [*inside, *COMMAND, "up", *flags(free_ports(2))]
    command += ["--set", "embedder.replicas=1", "--set", "reranker.enabled=false"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("embedder: "), process.communicate(timeout=LIMIT_S)[1]
        status = json.loads(run_cli(tmp_path, "status", "--json").stdout)
        (replica,) = status["services"][0]["replicas"]
        arguments = Path(f"/proc/{replica['pid']}/cmdline").read_text().split("\0")
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=LIMIT_S)
    assert "--worker-threads=1" in arguments


def test_a_model_that_exceeds_the_limit_is_reported_with_sizes(tmp_path, inside):
    model = tmp_path / "models" / "large"
    model.mkdir(parents=True)
    (model / "config.json").write_text("{}")
    (model / "tokenizer.json").write_text("{}")
    (model / "model.safetensors").touch()
    os.truncate(model / "model.safetensors", 2 * MEMORY_BYTES)
    state, message = doctor(tmp_path, inside, "--set", "embedder.model=models/large")["memory"]
    assert state == "warn"
    assert "embedder 2.25 GB" in message
    assert "of 1.07 GB are left: memory." in message
    os.truncate(model / "model.safetensors", 5 * MEMORY_BYTES)
    done = subprocess.run(
        [*inside, *COMMAND, "up", "--set", "embedder.model=models/large"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT_S,
    )
    assert done.returncode == 2
    assert "the weights of embedder are 5.37 GB, and there are 1.07 GB in all: memory." in done.stderr
