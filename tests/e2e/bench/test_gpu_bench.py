"""`python -m bench.gpu` runs all its steps on the CPU with a small model; its values are not checked here."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.services.family_models import FAMILIES, save

pytestmark = pytest.mark.slow
STEPS = ["families", "engine", "sentence-transformers", "tei", "replicas"]


def run(folder: Path, *arguments: str, path: str = "") -> tuple[subprocess.CompletedProcess[str], str]:
    page = folder / "gpu.md"
    command = [sys.executable, "-m", "bench.gpu", "--output", str(page), *arguments]
    searched = os.pathsep.join(filter(None, [path, os.environ["PATH"]]))
    where = os.environ | {"PATH": searched, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, env=where)
    return done, page.read_text() if page.exists() else ""


def test_every_step_runs_and_the_table_is_written(tmp_path):
    model = save(tmp_path / "model", FAMILIES["bert"], "Model", {})
    program = tmp_path / "bin" / "text-embeddings-router"  # TEI's flags, served by our engine
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m embedfleet tei "$@"\n')
    program.chmod(0o755)
    chosen = ["--device", "cpu", "--seconds", "120", "--model", str(model), "--families", "bge-m3", "mpnet"]
    chosen += ["--most-replicas", "2"]
    done, page = run(tmp_path, *chosen, path=str(program.parent))
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert [step for step in STEPS if result["outcomes"][step]["error"]] == [], done.stderr
    assert result["families"] == "float32 2 of 2; float16 2 of 2; bfloat16 2 of 2"
    assert result["replicas_per_gpu"].startswith("Replicas per GPU: ")
    assert result["took_s"] <= 120
    for contestant in ("embedfleet | in process", "embedfleet | HTTP 16x32", "TEI | HTTP 64x1"):
        assert f"| {contestant} |" in page
    assert "| sentence-transformers | in process |" in page
    assert "the CPU" in page
    assert "no GPU" in page


def test_a_device_that_is_missing_is_named_with_what_to_do(tmp_path):
    done, page = run(tmp_path, "--device", "cuda:7")
    assert (done.returncode, page) == (2, "")
    assert "there is no cuda:7" in done.stderr
    assert "--device cpu" in done.stderr
    done, _ = run(tmp_path, "--device", "tpu")
    assert done.returncode == 2
    assert "set --device to cuda:0" in done.stderr
