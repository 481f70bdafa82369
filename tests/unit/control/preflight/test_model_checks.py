"""The check of a model folder for our own engine: it finds broken files, and reports the files that it saw."""

import json
import shutil

import pytest

from embedfleet.config.load import load
from embedfleet.control.plan.machine import Machine
from embedfleet.control.preflight.model_checks import check_models
from embedfleet.control.preflight.survey import Resources, Survey, read_models
from tests.services.safetensors import write_shapes
from tests.services.tei_folders import BERT, EMBEDDER, RANKER, write_embedder

PLACE = "0_Transformer"


@pytest.fixture
def model(tmp_path):
    folder = write_embedder(tmp_path / "m")
    (folder / "tokenizer.json").unlink()
    return folder


def check(folder, **flags):
    flags = {"embedder.model": str(folder), "reranker.enabled": "false", "embedder.driver": "process"} | flags
    settings = load(None, {}, flags)
    (found,) = check_models(settings, read_models(settings, Survey(Machine(2), Resources(2, 2, None, [], 1024))))
    return found


def test_the_message_names_the_checked_files_and_who_judges_the_rest(model):
    found = check(model)
    assert found.state == "ok"
    assert f"{model}: embedder; config.json and " in found.message
    assert " MB of weights are complete; the engine judges the rest when it starts" in found.message
    assert f"embedfleet engine --model {model}" in found.message


def test_our_own_image_is_our_own_engine(model):
    flags = {"embedder.driver": "docker", "embedder.image": "embedfleet:latest"}
    assert "the engine judges the rest" in check(model, **flags).message


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("model.safetensors", b"", "is empty"),
        ("model.safetensors", b"no header of any kind", "is not a safetensors file, or is truncated"),
        ("model.safetensors", b"version https://git-lfs.github.com/spec/v1", "is a git-lfs pointer"),
        ("adapter_config.json", b"{}", "shows that these weights are an adapter"),
        ("config.json", b"{", "cannot be read"),
        ("config.json", b"[]", "cannot be read: it holds no JSON object"),
    ],
)
def test_broken_files_are_found(model, name, content, said):
    (model / name).write_bytes(content)
    found = check(model)
    assert (found.state, bool(found.hint)) == ("blocked", True)
    assert f"{model}/{name} {said}" in found.message


@pytest.mark.parametrize(
    ("name", "said"), [("config.json", "config.json is missing"), ("model.safetensors", "no weights")]
)
def test_missing_files_are_named(model, name, said):
    (model / name).unlink()
    assert said in check(model).message


def test_an_empty_pickle_and_a_part_that_is_not_there_are_found(model):
    (model / "model.safetensors").unlink()
    (model / "pytorch_model.bin").touch()
    assert f"{model}/pytorch_model.bin is empty" in check(model).message
    (model / "pytorch_model.bin").unlink()
    index = {"weight_map": {"a": "model-00001-of-00001.safetensors"}}
    (model / "model.safetensors.index.json").write_text(json.dumps(index))
    assert "model-00001-of-00001.safetensors is missing: the index names it" in check(model).message


def test_a_pointer_that_no_engine_reads_is_ok(model):
    (model / "picture.png").write_text("version https://git-lfs.github.com/spec/v1")
    assert check(model).state == "ok"


def test_a_transformer_in_a_subfolder_is_checked_there(model):
    (model / PLACE).mkdir()
    for name in ("config.json", "model.safetensors"):
        shutil.move(model / name, model / PLACE / name)
    rows = EMBEDDER["modules.json"]
    (model / "modules.json").write_text(json.dumps([rows[0] | {"path": PLACE}, *rows[1:]]))
    assert check(model).state == "ok"
    (model / PLACE / "model.safetensors").write_bytes(b"")
    assert f"{model}/{PLACE}/model.safetensors is empty" in check(model).message


def test_a_reranker_in_an_embedding_service_is_a_warning_with_its_size(model):
    for name in ("modules.json", "1_Pooling/config.json", "sentence_bert_config.json"):
        (model / name).unlink()
    (model / "config.json").write_text(json.dumps(RANKER["config.json"]))
    (model / "tokenizer.json").write_text("{}")
    write_shapes(model / "model.safetensors", {"classifier.weight": (1, BERT["hidden_size"])})
    for driver in ("process", "docker"):
        found = check(model, **{"embedder.driver": driver})
        assert (found.state, found.hint) == ("warn", "give the folder of an embedder")
        assert "cannot embed with a reranker: /embed answers 424" in found.message
        assert "0.0 GB" not in found.message
