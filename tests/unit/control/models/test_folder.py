"""A model folder is read without its weights: its files, those that cannot be read, and the targets of links."""

import json
import os
from pathlib import Path

import pytest

from embedfleet.control.models.folder import read_model_folder, with_tokenizer
from embedfleet.control.tei.assembly import assemble
from embedfleet.control.tei.folder import judge
from embedfleet.control.tei.weights import weights_bytes
from tests.services.safetensors import write_shapes
from tests.services.tei_folders import AMPERE


@pytest.fixture
def folder(tmp_path):
    config = {"architectures": ["XLMRobertaModel"], "model_type": "xlm-roberta", "max_position_embeddings": 8194}
    (tmp_path / "config.json").write_text(json.dumps(config | {"pad_token_id": 1}))
    (tmp_path / "tokenizer.json").write_text("{}")
    (tmp_path / "1_Pooling").mkdir()
    (tmp_path / "1_Pooling/config.json").write_text('{"pooling_mode": "cls"}')
    (tmp_path / "pytorch_model.bin").write_bytes(b"PK\x03\x04" + b"x" * 996)
    return tmp_path


def refusals(folder):
    return [str(refusal) for refusal in judge(read_model_folder(folder), AMPERE).refusals]


def test_a_complete_folder_is_read(folder):
    found = read_model_folder(folder)
    assert {*found.sizes} == {"config.json", "tokenizer.json", "1_Pooling/config.json", "pytorch_model.bin"}
    assert (weights_bytes(found), found.zipped, found.odd, found.outside) == (1000, {"pytorch_model.bin"}, set(), {})
    verdict = judge(found, AMPERE)
    assert (verdict.refuses, verdict.max_input_length) == (False, 8192)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "pytorch_model.bin"])
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    (said,) = refusals(folder)
    assert name in said


@pytest.mark.parametrize("name", ["tokenizer.json", "pytorch_model.bin"])
def test_a_pointer_is_not_the_file(folder, name):
    (folder / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    (said,) = refusals(folder)
    assert f"{name} is a git-lfs pointer" in said


def test_the_size_of_sharded_weights_is_the_sum_of_the_shards(folder):
    (folder / "pytorch_model.bin").unlink()
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "model-1.safetensors").write_bytes(b"abc")
    assert weights_bytes(read_model_folder(folder)) == 3
    said = refusals(folder)
    assert any("model-2.safetensors is missing: model.safetensors.index.json names it" in one for one in said)
    assert any("model-1.safetensors is not a safetensors file" in one for one in said)


@pytest.mark.parametrize("text", ['{"architectures": [', '{"a": NaN}', '{"a": "\\ud800"}', "\xff", "[" * 100_000])
def test_a_broken_configuration_is_named(folder, text):
    (folder / "config.json").write_bytes(text.encode("latin-1"))
    (said,) = refusals(folder)
    assert said.startswith("config.json ")


def test_files_that_python_reads_and_rust_does_not_are_marked(folder):
    whole = (folder / "config.json").read_text()
    for text in ("\ufeff" + whole, whole.replace("{", '{"model_type": "bert", ', 1)):
        (folder / "config.json").write_text(text)
        found = read_model_folder(folder)
        assert found.odd == {"config.json"}
        assert found.values("config.json")["model_type"] == "xlm-roberta"


def test_the_shapes_of_tensors_are_read_from_the_head_of_a_file(folder):
    write_shapes(folder / "model.safetensors", {"classifier.weight": (3, 32)})
    found = read_model_folder(folder)
    assert found.tensors == {"model.safetensors": {"classifier.weight": (3, 32)}}


def test_only_links_to_outside_the_folder_are_reported(folder, tmp_path_factory):
    blobs = tmp_path_factory.mktemp("blobs")
    (folder / "pytorch_model.bin").rename(blobs / "1")
    (folder / "pytorch_model.bin").symlink_to(blobs / "1")
    (folder / "same.json").symlink_to("config.json")
    (folder / "gone.json").symlink_to(blobs / "2")
    linked = folder.parent / f"{folder.name}-linked"
    linked.symlink_to(folder)
    for path in (folder, linked):
        found = read_model_folder(path)
        assert found.outside == {"pytorch_model.bin": blobs / "1", "gone.json": blobs / "2"}
        assert found.sizes["gone.json"] == -1
        assert judge(found, AMPERE).links == {"pytorch_model.bin": str(blobs / "1")}


def test_a_tokenizer_follows_the_settings_beside_it_as_in_the_libraries(folder):
    normalizer = {"type": "BertNormalizer", "lowercase": True, "strip_accents": None}
    rest = {"pre_tokenizer": None, "model": {"vocab": {"é": 1}}}
    (folder / "tokenizer.json").write_text(json.dumps(rest | {"normalizer": normalizer}))
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer", "do_lower_case": true}')
    assert with_tokenizer(read_model_folder(folder)).tokenizer == ""
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer", "do_lower_case": false}')
    verdict = judge(with_tokenizer(read_model_folder(folder)), AMPERE)
    values = json.loads(verdict.files["tokenizer.json"])
    assert values == rest | {"normalizer": normalizer | {"lowercase": False}}
    (folder / "tokenizer_config.json").unlink()
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 8192, "do_lower_case": true}')
    (folder / "tokenizer.json").write_text('{"normalizer": null}')
    verdict = judge(with_tokenizer(read_model_folder(folder)), AMPERE)
    assert json.loads(verdict.files["tokenizer.json"])["normalizer"]["normalizers"] == [{"type": "Lowercase"}]


def test_a_tokenizer_is_made_from_slow_files(folder):
    (folder / "tokenizer.json").unlink()
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b"]
    (folder / "vocab.txt").write_text("\n".join(words))
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer"}')
    verdict = judge(with_tokenizer(read_model_folder(folder)), AMPERE)
    assert "vocab" in json.loads(verdict.files["tokenizer.json"])["model"]
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "OddTokenizer"}')
    (refusal,) = judge(with_tokenizer(read_model_folder(folder)), AMPERE).refusals
    assert "OddTokenizer" in refusal.reason


def test_a_pipe_in_place_of_weights_is_not_read(folder):
    os.mkfifo(folder / "model.safetensors")
    assert read_model_folder(folder).sizes["model.safetensors"] == -1


def test_a_link_into_what_may_not_be_read_does_no_harm(folder):
    (folder / "processes").symlink_to("/proc")
    assert read_model_folder(folder).has("config.json")


def test_names_that_are_not_utf_8_are_part_of_the_assembled_folder(folder, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "weights"
    (folder / "pytorch_model.bin").rename(elsewhere)
    (folder / "pytorch_model.bin").symlink_to(elsewhere)
    Path(os.fsdecode(os.fsencode(folder) + b"/\xe9.txt")).write_text("")
    found = read_model_folder(folder)
    assembly = assemble(found, judge(found, AMPERE))
    assert assembly is not None
    assert len(assembly.key) == 16


def test_the_models_own_files_are_found_among_very_many(folder):
    for number in range(10_001):
        (folder / f"a{number}.png").touch()
    assert refusals(folder) == []
