"""Weights in every file that they come in, and what is refused."""

import json
import os
import pickle
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from embedfleet.engine.weights import Weights, find_weights
from embedfleet.errors import ModelError

DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "F64": torch.float64}


def tensors(dtype=torch.float32):
    torch.manual_seed(0)
    return {
        "a.weight": torch.randn(5, 3).to(dtype),
        "a.bias": torch.randn(5).to(dtype),
        "b": torch.randn(2, 3, 4).to(dtype),
    }


def check(weights, expected):
    for name, value in expected.items():
        found = weights.head(name, *value.shape)
        np.testing.assert_array_equal(found.read(), value.to(torch.float32).numpy())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_every_type_is_read_from_both_formats(tmp_path, name, dtype):
    expected = tensors(DTYPES[dtype])
    file = tmp_path / name
    save_file(expected, file) if file.suffix == ".safetensors" else torch.save(expected, file)
    weights = Weights(file)
    check(weights, expected)
    assert weights.head("b", 2, 3, 4).dtype == dtype
    assert weights.head("b", 2, 3, 4).is_mappable == (dtype == "F32")


def test_parameters_and_tensors_that_share_a_storage_are_read(tmp_path):
    whole = torch.arange(12, dtype=torch.float32).reshape(4, 3)
    torch.save({"whole": torch.nn.Parameter(whole), "rows": whole[1:3]}, tmp_path / "pytorch_model.bin")
    weights = Weights(tmp_path / "pytorch_model.bin")
    check(weights, {"whole": whole, "rows": whole[1:3]})


def test_a_tensor_that_does_not_lie_in_order_is_refused(tmp_path):
    torch.save({"a": torch.randn(3, 4).T}, tmp_path / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"steps of \[1, 4\]"):
        Weights(tmp_path / "pytorch_model.bin")


@pytest.mark.parametrize("suffix", ["safetensors", "bin"])
def test_shards_are_found_by_their_index(tmp_path, suffix):
    expected = tensors()
    stem = "model" if suffix == "safetensors" else "pytorch_model"
    places = {}
    for number, (name, value) in enumerate(expected.items()):
        shard = tmp_path / f"{stem}-{number}.{suffix}"
        save_file({name: value}, shard) if suffix == "safetensors" else torch.save({name: value}, shard)
        places[name] = shard.name
    index = tmp_path / f"{stem}.{suffix}.index.json"
    index.write_text(json.dumps({"weight_map": places}))
    assert find_weights(tmp_path) == index
    check(Weights(index), expected)

    (tmp_path / places["b"]).rename(tmp_path / "elsewhere")
    with pytest.raises(ModelError, match=f"{places['b']} is missing"):
        Weights(index)
    index.write_text(json.dumps({"weight_map": places | {"b": places["a.bias"]}}))
    with pytest.raises(ModelError, match="lacks tensor b"):
        Weights(index)
    index.write_text(json.dumps({"weight_map": {"a": "../a.bin"}}))
    with pytest.raises(ModelError, match="is missing"):
        Weights(index)


class Evil:
    def __init__(self, command):
        self._command = command

    def __reduce__(self):
        return os.system, (self._command,)


def test_a_pickle_that_would_run_something_is_refused_and_does_not_run(tmp_path):
    trace = tmp_path / "ran"
    torch.save({"a": torch.zeros(1)}, tmp_path / "good.bin")
    evil = pickle.dumps({"a": Evil(f"touch {trace}")}, protocol=2)
    with zipfile.ZipFile(tmp_path / "pytorch_model.bin", "w") as archive:
        archive.writestr("archive/data.pkl", evil)
    with pytest.raises(ModelError, match=r"names (posix|os)\.system") as caught:
        Weights(tmp_path / "pytorch_model.bin")
    assert "nothing of it was run" in caught.value.hint
    assert not trace.exists()


def test_the_format_before_1_6_gets_a_hint(tmp_path):
    torch.save({"a": torch.zeros(1)}, tmp_path / "pytorch_model.bin", _use_new_zipfile_serialization=False)
    with pytest.raises(ModelError, match=r"before 1\.6") as caught:
        Weights(tmp_path / "pytorch_model.bin")
    assert "safetensors" in caught.value.hint


@pytest.mark.parametrize("kept", [0, 0.1, 0.5, 0.95])
def test_a_cut_pickle_is_refused(tmp_path, kept):
    file = tmp_path / "pytorch_model.bin"
    torch.save(tensors(), file)
    file.write_bytes(file.read_bytes()[: int(kept * file.stat().st_size)])
    with pytest.raises(ModelError, match=r"pytorch_model\.bin"):
        Weights(file)
