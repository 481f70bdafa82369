"""A folder that cannot be served is refused with an error that names the file and its fault."""

import json
import shutil
import struct

import numpy as np
import pytest

from embedfleet.engine.files.weights import Weights
from embedfleet.engine.model.builtin import builtin_model
from embedfleet.engine.model.source import resolve_model
from embedfleet.engine.model.spec import Pooling, read_model
from embedfleet.engine.onnx.model_graph import build_graph
from embedfleet.engine.text.tokenization import Tokenization
from embedfleet.errors import ModelError

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 90868376\n"


@pytest.fixture
def folder(tmp_path):
    """A copy of the built-in model, its weights linked."""
    copy = tmp_path / "model"
    copy.mkdir()
    for file in builtin_model().iterdir():
        if file.name == "model.safetensors":
            (copy / file.name).symlink_to(file)
        elif file.is_dir():
            shutil.copytree(file, copy / file.name)
        else:
            shutil.copy(file, copy)
    return copy


def change(file, **values):
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def refusal(folder, **options) -> ModelError:
    with pytest.raises(ModelError) as caught:
        read_model(folder, **options)
    return caught.value


def test_the_copy_itself_is_served(folder):
    assert read_model(folder).max_input_length == 256


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors"])
def test_a_missing_file_is_named(folder, name):
    (folder / "vocab.txt").unlink()  # otherwise a tokenizer would be made of it
    (folder / name).unlink()
    assert str(folder / name) in refusal(folder).message


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors"])
def test_a_git_lfs_pointer_is_recognised_and_the_mend_given(folder, name):
    (folder / name).unlink()
    (folder / name).write_text(POINTER)
    error = refusal(folder)
    assert f"{folder / name} is a git-lfs pointer" in error.message
    assert "git lfs pull" in error.hint


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("model_type", "t5"),
        ("hidden_act", "mish"),
        ("position_embedding_type", "relative_key"),
        ("hidden_size", "wide"),
        ("num_hidden_layers", None),
    ],
)
def test_what_config_says_and_we_do_not_know_is_named_with_its_value(folder, key, value):
    change(folder / "config.json", **{key: value})
    error = refusal(folder)
    assert str(folder / "config.json") in error.message
    assert key in error.message
    assert repr(value) in error.message


def test_an_unknown_architecture_gets_the_list_of_known_ones(folder):
    change(folder / "config.json", model_type="t5")
    assert "xlm-roberta" in refusal(folder).hint


def test_pooling_that_is_not_stated_is_refused_unless_given(folder):
    shutil.rmtree(folder / "1_Pooling")
    error = refusal(folder)
    assert str(folder / "1_Pooling" / "config.json") in error.message
    assert "set pooling to one of cls, mean, last-token" in error.hint
    assert read_model(folder, pooling=Pooling.CLS).pooling is Pooling.CLS


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"pooling_mode_sum_tokens": True},
        {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True},
        {"pooling_mode_mean_tokens": True, "pooling_mode_max_tokens": True},
    ],
)
def test_pooling_other_than_one_of_ours_is_refused(folder, config):
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(config))
    assert str(folder / "1_Pooling" / "config.json") in refusal(folder).message


def test_modules_that_we_do_not_compute_are_not_left_out_in_silence(folder):
    modules = json.loads((folder / "modules.json").read_text())
    modules.append({"type": "sentence_transformers.models.LSTM", "path": "2_LSTM"})
    (folder / "modules.json").write_text(json.dumps(modules))
    error = refusal(folder)
    assert "'LSTM' is not supported" in error.message
    assert "Dense" in error.hint


def test_json_that_cannot_be_read_is_named(folder):
    (folder / "config.json").write_text("{")
    assert str(folder / "config.json") in refusal(folder).message


@pytest.mark.parametrize(
    ("key", "value"), [("id2label", {}), ("id2label", []), ("num_labels", 0), ("num_labels", "two")]
)
def test_a_classifier_whose_labels_are_none_is_refused(folder, key, value):
    change(folder / "config.json", architectures=["BertForSequenceClassification"], **{key: value})
    assert f"`{key}` is {value!r}" in refusal(folder).message


def test_config_that_disagrees_with_the_weights_names_the_tensor_and_both_shapes(folder):
    change(folder / "config.json", intermediate_size=1000)
    spec = read_model(folder)
    with pytest.raises(
        ModelError, match=r"intermediate\.dense\.weight has shape \[1536, 384\].*asks for \[1000, 384\]"
    ):
        build_graph(spec)


def test_a_missing_tensor_is_named(folder):
    change(folder / "config.json", num_hidden_layers=7)
    spec = read_model(folder)
    with pytest.raises(ModelError, match=r"tensor encoder\.layer\.6\.attention\.self\.query\.weight is missing"):
        build_graph(spec)


def test_truncated_weights_are_named(folder):
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").write_bytes(whole[:-1])
    with pytest.raises(ModelError, match=r"model\.safetensors is truncated: 90868375 bytes of 90868376"):
        Weights(folder / "model.safetensors", "")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"1234",
        b"\xff" * 64,
        struct.pack("<Q", 2) + b"[]",
        struct.pack("<Q", 9) + b'{"a": {}}',
        struct.pack("<Q", 64) + b'{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}   ' + b"\0" * 8,
    ],
)
def test_what_is_not_safetensors_is_named(tmp_path, content):
    file = tmp_path / "model.safetensors"
    file.write_bytes(content)
    with pytest.raises(ModelError, match="not a safetensors file"):
        Weights(file, "")


def test_weights_of_an_unknown_number_type_are_named(tmp_path):
    file = tmp_path / "model.safetensors"
    header = json.dumps({"a": {"dtype": "I8", "shape": [2], "data_offsets": [0, 2]}}).encode()
    file.write_bytes(struct.pack("<Q", len(header)) + header + np.zeros(2, np.int8).tobytes())
    with pytest.raises(ModelError, match="tensor a has type I8"):
        Weights(file, "").head("a", 2)


def test_a_tokenizer_that_is_none_is_named(tmp_path):
    file = tmp_path / "tokenizer.json"
    file.write_text('{"version": "1.0"}')
    with pytest.raises(ModelError, match=r"tokenizer\.json is not a tokenizer"):
        Tokenization(file)


@pytest.mark.parametrize("model", ["./nowhere", "/nowhere/at/all", "models/bge-m3", "nonsense"])
def test_a_model_that_is_nowhere_is_named(model):
    with pytest.raises(ModelError, match="there is no model folder"):
        resolve_model(model)


def test_a_file_is_no_model(tmp_path):
    (tmp_path / "m").write_text("")
    with pytest.raises(ModelError, match="is a file"):
        resolve_model(str(tmp_path / "m"))


@pytest.mark.parametrize("labels", [{"yes": 0}, {"1": "a"}, {"0": "a", "2": "b"}])
def test_labels_that_are_not_numbered_from_nought_are_named(folder, labels):
    change(folder / "config.json", architectures=["BertForSequenceClassification"])
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"id2label": labels}))
    assert str(list(labels)) in refusal(folder).message


@pytest.mark.parametrize("content", ["{", "{}", '["Odd"]'])
def test_modules_that_cannot_be_read_are_named(folder, content):
    (folder / "modules.json").write_text(content)
    assert str(folder / "modules.json") in refusal(folder).message


def test_a_norm_without_a_number_is_named(folder):
    change(folder / "config.json", layer_norm_eps="small")
    assert "`layer_norm_eps` is 'small'" in refusal(folder).message
