"""A model folder is looked at as TEI will: what is missing or only a pointer is named with the file."""

import json

import pytest

from embedfleet.control.model_folder import read_model_folder


@pytest.fixture
def folder(tmp_path):
    config = {"architectures": ["XLMRobertaModel"], "model_type": "xlm-roberta", "max_position_embeddings": 8194}
    (tmp_path / "config.json").write_text(json.dumps(config | {"pad_token_id": 1}))
    (tmp_path / "tokenizer.json").write_text("{}")
    (tmp_path / "pytorch_model.bin").write_bytes(b"x" * 1000)
    return tmp_path


def test_a_whole_folder_has_no_problem(folder):
    facts = read_model_folder(folder)
    assert (facts.problems, facts.max_input_length, facts.weights_bytes) == ((), 8192, 1000)
    assert not facts.is_classifier


def test_sentence_transformers_length_comes_first(folder):
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 512}')
    assert read_model_folder(folder).max_input_length == 512


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json"])
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    assert any(f"{folder}/{name} is missing" in problem for problem in read_model_folder(folder).problems)


def test_missing_weights_are_told_with_the_names_that_would_do(folder):
    (folder / "pytorch_model.bin").unlink()
    (problem,) = read_model_folder(folder).problems
    assert "has no weights" in problem
    assert "model.safetensors" in problem


@pytest.mark.parametrize("name", ["tokenizer.json", "pytorch_model.bin"])
def test_a_pointer_is_not_the_file(folder, name):
    (folder / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    (problem,) = read_model_folder(folder).problems
    assert f"{folder}/{name} is a git-lfs pointer" in problem
    assert "git lfs pull" in problem


def test_a_missing_shard_is_named(folder):
    (folder / "pytorch_model.bin").unlink()
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "model-1.safetensors").write_bytes(b"abc")
    facts = read_model_folder(folder)
    assert facts.weights_bytes == 3
    assert facts.problems == (f"{folder}/model-2.safetensors is missing: model.safetensors.index.json names it",)


def test_a_broken_configuration_is_named(folder):
    (folder / "config.json").write_text('{"architectures": [')
    (problem,) = read_model_folder(folder).problems
    assert f"{folder}/config.json cannot be read" in problem


def test_a_cross_encoder_is_known_by_its_architecture(folder):
    (folder / "config.json").write_text('{"architectures": ["XLMRobertaForSequenceClassification"]}')
    assert read_model_folder(folder).is_classifier
