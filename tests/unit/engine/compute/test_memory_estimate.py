"""A pass grows the process by no more than the estimate, which is linear in the length."""

import logging
import shutil
from pathlib import Path

import numpy as np
import pytest

from embedfleet.engine.backends import make_backend
from embedfleet.engine.compute.memory_estimate import pass_bytes
from embedfleet.engine.compute.output_heads import outputs_of
from embedfleet.engine.engine import load
from embedfleet.engine.loaded_model import log_memory_need
from embedfleet.engine.model.builtin import builtin_model
from embedfleet.engine.model.spec import Pooling, read_model
from embedfleet.engine.settings import EngineSettings
from embedfleet.metrics import TEI, Registry
from tests.services.family_models import FAMILIES, save
from tests.services.jina import make_jina
from tests.services.m3 import make_m3
from tests.services.models import make_bert

WIDE = {"hidden_size": 192, "num_attention_heads": 6, "intermediate_size": 384, "max_position_embeddings": 6000}
TOKENS = 5000


def made(folder: Path, family: str) -> Path:
    if family == "jina_bert":
        return make_jina(folder, heads=6, longest=6000)
    wide = WIDE | ({"head_dim": 32} if family in {"qwen3", "gemma3_text"} else {})
    shape = type(FAMILIES[family])(FAMILIES[family].name, FAMILIES[family].config | wide)
    folder.mkdir()
    return save(folder, shape, "Model", {})


def peak_mb() -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1000


@pytest.mark.parametrize("backend", ["onnx", "torch"])
@pytest.mark.parametrize("family", ["modernbert", "qwen3", "gemma3_text", "jina_bert", "bert"])
def test_a_pass_takes_no_more_than_was_said(tmp_path, family, backend):
    spec = read_model(made(tmp_path / "m", family))
    runner = make_backend(spec, EngineSettings(backend=backend))
    ids = np.random.default_rng(0).integers(1000, 20000, TOKENS)
    runner.forward(ids[:9], np.zeros(9, np.int64), np.array([9]), outputs_of(spec))
    Path("/proc/self/clear_refs").write_text("5")
    before = peak_mb()
    runner.forward(ids, np.zeros_like(ids), np.array([TOKENS]), outputs_of(spec))
    assert peak_mb() - before <= pass_bytes(spec, TOKENS) / 1e6
    assert pass_bytes(spec, TOKENS) < 400e6  # the scores of all pairs would take 600 MB


@pytest.mark.parametrize("family", FAMILIES)
def test_twice_the_text_takes_at_most_twice_the_memory(tmp_path, family):
    folder = tmp_path / "m"
    folder.mkdir()
    spec = read_model(save(folder, FAMILIES[family], "Model", {}))
    some, more = (pass_bytes(spec, tokens) for tokens in (4096, 8192))
    assert some < more <= 2 * some


def test_what_is_computed_after_the_last_states_counts(tmp_path):
    words = read_model(make_bert(tmp_path / "splade"), pooling=Pooling.SPLADE)
    assert pass_bytes(words, 1000) > 1000 * words.family.vocabulary * 4
    assert pass_bytes(read_model(make_m3(tmp_path / "m3")), 1000) > 0


def test_the_load_says_what_a_pass_takes_and_warns_where_it_is_too_much(tmp_path, caplog):
    folder = shutil.copytree(builtin_model(), tmp_path / "m")
    for threads, level in ((1, logging.INFO), (10_000, logging.WARNING)):
        caplog.clear()
        with caplog.at_level(logging.INFO):
            log_memory_need(read_model(folder), 512, threads)
        (record,) = [item for item in caplog.records if hasattr(item, "pass_bytes")]
        assert record.levelno == level
        assert record.tokens == 512
        assert f"takes up to {record.pass_bytes / 1e6:.0f} MB beside the weights" in record.message


def test_an_engine_says_it_when_it_loads(caplog):
    with caplog.at_level(logging.INFO):
        load(EngineSettings(model="builtin"), Registry(TEI)).close()
    assert [item.tokens for item in caplog.records if hasattr(item, "pass_bytes")] == [512]
