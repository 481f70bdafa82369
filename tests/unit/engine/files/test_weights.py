"""Weights are read from every supported file format; other files are refused."""

import json
import os
import pickle
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from embedfleet.engine.files.weights import Weights, find_weights
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


def test_parameters_and_tensors_that_share_a_storage_are_read(tmp_path):
    whole = torch.arange(12, dtype=torch.float32).reshape(4, 3)
    torch.save({"whole": torch.nn.Parameter(whole), "rows": whole[1:3]}, tmp_path / "pytorch_model.bin")
    weights = Weights(tmp_path / "pytorch_model.bin")
    check(weights, {"whole": whole, "rows": whole[1:3]})


@pytest.mark.parametrize("dtype", DTYPES)
def test_tensors_that_do_not_lie_in_order_are_read_in_order(tmp_path, dtype):
    whole = torch.randn(4, 6, 5).to(DTYPES[dtype])
    expected = {
        "turned": whole[0].T,
        "permuted": whole.permute(2, 0, 1),
        "every second": whole[::2, 1::3, :],
        "a column": whole[1, :, 2],
    }
    torch.save(expected, tmp_path / "pytorch_model.bin")
    weights = Weights(tmp_path / "pytorch_model.bin")
    check(weights, expected)
    assert all(weights.head(name, *value.shape).strides for name, value in expected.items())


def test_a_tensor_that_repeats_its_storage_is_refused(tmp_path):
    torch.save({"a": torch.ones(1).expand(10**9)}, tmp_path / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"shape \[1000000000\] whose numbers overlap"):
        Weights(tmp_path / "pytorch_model.bin")


def test_what_is_beside_the_weights_does_not_keep_them_from_being_read(tmp_path):
    expected = tensors()
    beside = {"position_ids": torch.arange(4), "mask": torch.ones(3, dtype=torch.bool), "version": "1.0", "step": 3}
    torch.save({"state_dict": expected | beside}, tmp_path / "pytorch_model.bin")
    weights = Weights(tmp_path / "pytorch_model.bin")
    check(weights, expected)
    with pytest.raises(ModelError, match="tensor position_ids has type I64"):
        weights.head("position_ids", 4)


@pytest.mark.parametrize("protocol", [2, 4])
def test_a_module_s_state_is_read_whatever_the_pickle_s_protocol(tmp_path, protocol):
    layer = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.LayerNorm(2))
    torch.save(layer.state_dict(), tmp_path / "pytorch_model.bin", pickle_protocol=protocol)
    check(Weights(tmp_path / "pytorch_model.bin"), layer.state_dict())


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
    with pytest.raises(ModelError, match=r"names the file '\.\./a\.bin', which is not in its folder"):
        Weights(index)


class Evil:
    def __init__(self, command):
        self._command = command

    def __reduce__(self):
        return os.system, (self._command,)


def pickled(folder, program):
    """Write a file in torch.save's format around any pickle."""
    with zipfile.ZipFile(folder / "pytorch_model.bin", "w") as archive:
        archive.writestr("archive/data.pkl", program)
        archive.writestr("archive/data/0", bytes(64))
    return folder / "pytorch_model.bin"


def test_a_pickle_that_would_run_something_is_refused_and_does_not_run(tmp_path):
    trace = tmp_path / "ran"
    file = pickled(tmp_path, pickle.dumps({"a": Evil(f"touch {trace}")}, protocol=2))
    with pytest.raises(ModelError, match=r"names (posix|os)\.system") as caught:
        Weights(file)
    assert "no code from it was run" in caught.value.hint
    assert not trace.exists()


DEEP = b"\x80\x02})" + b"\x85" * 1_000_000  # a tuple in a tuple in a tuple …


@pytest.mark.parametrize(
    "program",
    [
        b"\x80\x02cos\nsystem\n.",
        b"\x80\x02(S'true'\nios\nsystem\n.",
        b"\x80\x02]r\xff\xff\xff\x7f.",  # would allocate two thousand million values
        b"\x80\x05\x96" + b"\xff" * 7 + b"\x00.",
        DEEP + b"K\x01s.",  # as a key: hashing it in Python would kill the process
        DEEP + b".",
        b"\x80\x02ccollections\nOrderedDict\n]" + b"(K\x01K\x02ta" * 3 + b"\x85R.",
        b"\x80\x02X\x01\x00\x00\x00aQ.",
        b"\x80\x02K\x01K\x02\x86R.",
        b"\x80\x02h\x00.",
        b"\x80\x02u.",
        b"\x80\x02.",
        b"\x80\x02}",
        b"",
        b"K\x01.",
        b"\x80\x02}N\x88s.",
        b"\x80\x02}}N\x88sb0.",
    ],
)
def test_programs_that_make_no_dict_of_tensors_are_refused(tmp_path, program):
    with pytest.raises(ModelError, match=r"pytorch_model\.bin"):
        Weights(pickled(tmp_path, program))


def test_a_compressed_file_is_refused_before_it_grows(tmp_path):
    with zipfile.ZipFile(tmp_path / "pytorch_model.bin", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(10_000_000))
    with pytest.raises(ModelError, match=r"data\.pkl is compressed"):
        Weights(tmp_path / "pytorch_model.bin")


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


def test_a_norm_s_tensors_are_found_by_the_names_that_they_had_once(tmp_path):
    """Checkpoints such as google-bert/bert-base-uncased have these names."""
    scale, shift = torch.randn(3), torch.randn(3)
    old = {"bert.embeddings.LayerNorm.gamma": scale, "bert.embeddings.LayerNorm.beta": shift, "gamma": scale}
    save_file({name: value.clone() for name, value in old.items()}, tmp_path / "model.safetensors")
    weights = Weights(tmp_path / "model.safetensors", "embeddings.LayerNorm.weight")
    np.testing.assert_array_equal(weights.body("embeddings.LayerNorm.weight", 3).read(), scale)
    np.testing.assert_array_equal(weights.body("embeddings.LayerNorm.bias", 3).read(), shift)
    assert weights.has("gamma")
