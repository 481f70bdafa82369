"""A pass with disentangled attention or experts grows the process by no more than the estimate."""

from pathlib import Path

import numpy as np
import pytest

from embedfleet.engine.backends import make_backend
from embedfleet.engine.compute.memory_estimate import pass_bytes
from embedfleet.engine.compute.output_heads import outputs_of
from embedfleet.engine.model.spec import ModelSpec, read_model
from embedfleet.engine.settings import EngineSettings
from tests.services.family_models import BACKENDS
from tests.services.nomic import make_nomic
from tests.unit.engine.compute.test_memory_estimate import made, peak_mb


def grown_mb(spec: ModelSpec, backend: str, tokens: int) -> float:
    """Largest growth of the process in a pass over one text, in MB."""
    runner = make_backend(spec, EngineSettings(backend=backend))
    ids = np.random.default_rng(0).integers(1000, 20000, tokens)
    runner.forward(ids[:9], np.zeros(9, np.int64), np.array([9]), outputs_of(spec))
    Path("/proc/self/clear_refs").write_text("5")
    before = peak_mb()
    runner.forward(ids, np.zeros_like(ids), np.array([tokens]), outputs_of(spec))
    return peak_mb() - before


@pytest.mark.parametrize("backend", BACKENDS)
def test_disentangled_attention_takes_no_more_than_was_said(tmp_path, backend):
    spec, tokens = read_model(made(tmp_path / "m", "deberta-v2")), 2500
    assert pass_bytes(spec, tokens) < 250e6  # the scores of all pairs, of three terms each, would take 450 MB
    assert grown_mb(spec, backend, tokens) <= pass_bytes(spec, tokens) / 1e6


@pytest.mark.parametrize("backend", BACKENDS)
def test_experts_take_no_more_than_was_said(tmp_path, backend):
    spec, tokens = read_model(make_nomic(tmp_path / "m", longest=6000)), 5000
    assert grown_mb(spec, backend, tokens) <= pass_bytes(spec, tokens) / 1e6
    some, more = (pass_bytes(spec, length) for length in (4096, 8192))
    assert some < more <= 2 * some
