"""With real engines, replicas of one model are recognized as such, and each planted difference is found."""

import asyncio
import json
import shutil
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from embedfleet.engine.settings import EngineSettings
from embedfleet.probe.prober import Prober
from embedfleet.types import Endpoint
from tests.services.engine import serving
from tests.services.models import make_bert, make_xlm


def difference(pool: EngineSettings, other: EngineSettings) -> str:
    """The reason why the other engine may not join the pool; empty if it may."""

    async def ask(urls: list[str]) -> str:
        prober = Prober(30)
        for name, url in zip(("pool", "other"), urls, strict=True):
            reason = await prober.probe(Endpoint(name, url), []) or prober.admit(name)
            assert name == "other" or not reason, reason
        return reason

    with ExitStack() as stack:
        urls = [stack.enter_context(serving(settings)).url for settings in (pool, other)]
        return asyncio.run(ask(urls))


def copy(folder: Path, to: Path, change: Callable[[Path], None]) -> Path:
    """A changed copy of the model under the same name."""
    made = to / folder.name
    shutil.copytree(folder, made)
    change(made)
    return made


def zero_a_layer(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    for name, value in weights.items():
        if "layer.1." in name and name.endswith("dense.weight"):
            value.zero_()
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def keep_capitals(folder: Path) -> None:
    file = folder / "tokenizer.json"
    tokenizer = json.loads(file.read_text())
    tokenizer["normalizer"]["lowercase"] = False
    tokenizer["normalizer"]["strip_accents"] = False
    file.write_text(json.dumps(tokenizer))


def other_pooling(folder: Path) -> None:
    modes = {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(modes))


def other_weights(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    for name, value in weights.items():
        if name.endswith("dense.weight"):
            weights[name] = value + 0.1 * value.flip(0)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.fixture(scope="module")
def embedder(tmp_path_factory) -> Path:
    folder = make_bert(tmp_path_factory.mktemp("pool") / "model")
    (folder / "1_Pooling").mkdir()
    modes = {"pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(modes))
    return folder


@pytest.mark.parametrize("change", [zero_a_layer, keep_capitals, other_pooling, other_weights])
def test_a_folder_that_was_changed_in_place_is_another_model(embedder, tmp_path, change):
    changed = copy(embedder, tmp_path, change)
    told = difference(EngineSettings(model=str(embedder)), EngineSettings(model=str(changed)))
    assert "another model: " in told


@pytest.mark.parametrize("changes", [{"default_prompt": "query: "}, {"default_prompt": "."}, {"pooling": "cls"}])
def test_another_prompt_or_pooling_is_another_model(embedder, changes):
    pool = EngineSettings(model=str(embedder))
    assert "another model: " in difference(pool, replace(pool, **changes))


def test_the_same_model_beside_other_work_is_the_same(embedder, tmp_path):
    pool = EngineSettings(model=str(embedder))
    moved = copy(embedder, tmp_path, lambda folder: None)
    assert difference(pool, EngineSettings(model=str(moved), batch_tokens=64, max_client_batch_size=1)) == ""


@pytest.mark.parametrize("changes", [{"backend": "torch"}, {"backend": "torch", "precision": "bfloat16"}])
def test_other_kernels_and_coarser_numbers_are_the_same_model(embedder, changes):
    pool = EngineSettings(model=str(embedder))
    assert difference(pool, replace(pool, **changes)) == ""


@pytest.mark.parametrize("seed", [1, 2])
def test_rerankers_of_other_weights_are_two_models(tmp_path, seed):
    pool = EngineSettings(model=str(make_bert(tmp_path / "0" / "m", labels=1)))
    other = EngineSettings(model=str(make_bert(tmp_path / "1" / "m", labels=1, seed=seed)))
    assert "its scores differ" in difference(pool, other)
    assert difference(pool, pool) == ""


def test_classifiers_of_other_weights_are_two_models(tmp_path):
    pool = EngineSettings(model=str(make_bert(tmp_path / "0" / "m", labels=3)))
    other = EngineSettings(model=str(make_bert(tmp_path / "1" / "m", labels=3, seed=1)))
    assert "its scores differ" in difference(pool, other)
    assert difference(pool, pool) == ""


def test_sparse_embedders_of_other_weights_are_two_models(embedder, tmp_path):
    pool = EngineSettings(model=str(embedder), pooling="splade")
    other = EngineSettings(model=str(copy(embedder, tmp_path, zero_a_layer)), pooling="splade")
    assert "its weights" in difference(pool, other)
    assert difference(pool, pool) == ""


def test_weights_in_float16_are_the_same_model(tmp_path):
    pool = EngineSettings(model=str(make_xlm(tmp_path / "0" / "m", pooling="mean")))
    other = EngineSettings(model=str(make_xlm(tmp_path / "1" / "m", pooling="mean", dtype="float16")))
    assert difference(pool, other) == ""


def test_late_interaction_with_another_prompt_is_another_model():
    pool = EngineSettings(model="builtin", task="rerank")
    assert "its scores differ" in difference(pool, replace(pool, default_prompt="query: "))
    assert difference(pool, replace(pool, backend="torch", precision="bfloat16")) == ""
