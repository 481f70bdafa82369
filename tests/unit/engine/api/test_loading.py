"""Faults of a folder's tokenizer, weights or heads that show only when it is loaded or first used."""

import asyncio
import json

import numpy as np
import pytest

from bench.fuzz.folders import KINDS, make_files, write_files
from bench.fuzz.tokenizers import ROOM
from bench.fuzz.weights import onnx_pass, safetensors
from embedfleet.dialects.json_body import Fields
from embedfleet.dialects.serving.tei import parse_embed
from embedfleet.engine.api.operations import Operations
from embedfleet.engine.engine import load
from embedfleet.engine.model.builtin import builtin_model
from embedfleet.engine.settings import EngineSettings
from embedfleet.engine.text.tokenization import Tokenization
from embedfleet.engine.text.truncation import TextLimits
from embedfleet.errors import Backend, ModelError
from embedfleet.errors import Tokenizer as TokenizerError
from embedfleet.metrics import TEI, Registry


@pytest.fixture
def make(tmp_path):
    """Make a small valid folder of a kind."""

    def make(kind):
        folder = tmp_path / "model"
        write_files(folder, make_files(KINDS[kind]))
        return folder

    return make


def change(file, **values):
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def refusal(folder) -> ModelError:
    with pytest.raises(ModelError) as caught:
        load(EngineSettings(model=str(folder)), Registry(TEI))
    assert str(folder) in caught.value.message
    return caught.value


def embedded(folder, texts):
    settings = EngineSettings(model=str(folder))
    engine = load(settings, Registry(TEI))
    try:
        request = parse_embed(Fields({"inputs": texts, "truncate": True}))
        return asyncio.run(Operations(engine, settings).embed(request))[0]
    finally:
        engine.close()


@pytest.mark.parametrize("kind", KINDS)
def test_the_folders_are_valid(make, kind):
    engine = load(EngineSettings(model=str(make(kind))), Registry(TEI))
    engine.close()
    assert engine.spec.max_input_length >= 32


def test_a_tokenizer_of_another_model_is_refused_with_both_numbers(make):
    folder = make("bert with modules")
    (folder / "tokenizer.json").write_bytes((builtin_model() / "tokenizer.json").read_bytes())
    error = refusal(folder)
    assert f"tokenizer.json has 30522 tokens, but config.json says {ROOM}" in error.message
    assert error.hint == "the tokenizer belongs to another model"


def test_a_token_whose_id_is_beyond_the_model_s_is_refused_however_few_there_are(make):
    folder = make("bert with modules")
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer["model"]["vocab"]["far"] = ROOM
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    assert f"tokenizer.json has {ROOM + 1} tokens, but config.json says {ROOM}" in refusal(folder).message


@pytest.mark.parametrize("room", [1, 3])
def test_an_input_without_room_for_more_than_special_tokens_is_refused(make, room):
    folder = make("qwen3")
    change(folder / "config.json", max_position_embeddings=room)
    assert f"tokenizer.json adds 3 special tokens, but an input has room for only {room}" in refusal(folder).message


def test_a_model_whose_first_pass_fails_is_refused(make):
    folder = make("bert in onnx")
    (folder / "onnx" / "model.onnx").write_bytes(onnx_pass(2, 16))  # two words
    assert "is loaded, but its first forward pass failed: Backend error" in refusal(folder).message


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff"])
@pytest.mark.parametrize("name", ["special_tokens_map.json", "tokenizer_config.json"])
def test_bge_m3_s_special_tokens_are_read_before_anybody_asks(make, name, content):
    folder = make("bge-m3")
    (folder / name).write_bytes(content)
    assert str(folder / name) in refusal(folder).message


def test_half_a_character_in_a_config_is_refused(make):
    folder = make("modernbert classifier")
    change(folder / "config.json", id2label={"0": "no", "1": "yes", "2": "\ud800"})
    assert str(folder / "config.json") in refusal(folder).message


def test_a_whole_character_written_in_two_halves_is_one(make):
    folder = make("modernbert classifier")
    change(folder / "config.json", id2label={"0": "no", "1": "yes", "2": "🙂"})
    assert "\\ud83d\\ude42" in (folder / "config.json").read_text()
    engine = load(EngineSettings(model=str(folder)), Registry(TEI))
    engine.close()
    assert engine.spec.id2label[2] == "🙂"


@pytest.mark.filterwarnings("ignore:overflow encountered")
def test_a_layer_after_the_pooling_that_gives_no_numbers_fails_the_request(make):
    folder = make("bert with modules")
    assert np.isfinite(embedded(folder, ["the river"])).all()
    change(folder / "2_Dense" / "config.json", activation_function="torch.nn.modules.linear.Identity")
    # Weights and biases are finite, but their sums are not.
    tensors = {"linear.weight": np.eye(8, 16, dtype=np.float32) * 3e38, "linear.bias": np.full(8, 3.3e38, np.float32)}
    (folder / "2_Dense" / "model.safetensors").write_bytes(safetensors(tensors))
    with pytest.raises(Backend, match="not finite"):
        embedded(folder, ["the river"])


@pytest.mark.parametrize("options", [{"cache_mb": 1}, {"packed": True}])
def test_a_folder_by_the_name_of_a_config_is_no_config(make, tmp_path, options):
    folder = make("bert with modules")
    (folder / "modules.json").unlink()
    (folder / "modules.json").mkdir()
    options = {"packed_dir": str(tmp_path / "packed")} if "packed" in options else options
    load(EngineSettings(model=str(folder), **options), Registry(TEI)).close()


def test_a_tokenizer_that_does_not_know_its_own_unknown_token_refuses_a_text_and_lives(make):
    file = make("bert with modules") / "tokenizer.json"
    tokenizer = json.loads(file.read_text())
    tokenizer["model"]["unk_token"] = "nowhere"
    file.write_text(json.dumps(tokenizer))
    tokenization = Tokenization(file)
    with pytest.raises(TokenizerError, match="tokenizer error WordPiece error"):
        tokenization.tokenize("日", add_special_tokens=True, prompt=None, limit=16)
    with pytest.raises(TokenizerError, match="tokenizer error WordPiece error"):
        tokenization.encode(["日"], TextLimits(16, truncate=True, direction="right"), None)
    assert len(tokenization.tokenize("river", add_special_tokens=True, prompt=None, limit=16)) == 3


def test_a_tokenizer_that_makes_its_library_panic_is_refused(make):
    """The library then raises a BaseException that is not an Exception."""
    folder = make("qwen3")
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    del tokenizer["post_processor"]["special_tokens"]["<|begin|>"]
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    assert "tokenizer.json is not a tokenizer: tokenizer error" in refusal(folder).message
