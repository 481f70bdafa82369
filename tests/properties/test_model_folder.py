"""A model folder with arbitrary content is loaded, or refused with an error that names the file and its fault."""

import json
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedfleet.engine.model.spec import Pooling, read_model
from embedfleet.engine.onnx.model_graph import build_graph
from embedfleet.errors import ModelError
from tests.services.jina import make_jina
from tests.services.models import make_bert

KEYS = ["architectures", "id2label", "layer_types", "rope_scaling", "max_seq_length", "pooling_mode", "type_vocab_size"]
ODD = st.sampled_from([None, True, -1, 0, 1, 3, 2**63, 10**30, 1.5, float("nan"), float("inf"), "", "gelu", "alibi"])
VALUES = st.one_of(ODD, st.lists(ODD, max_size=2), st.dictionaries(st.sampled_from(["a", "factor"]), ODD, max_size=2))


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> list[Path]:
    folder = tmp_path_factory.mktemp("models")
    return [make_bert(folder / "bert", labels=2), make_jina(folder / "jina", heads=3, longest=64)]


def copied(folder: Path, target: Path) -> Path:
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(folder, target, copy_function=lambda one, other: Path(other).symlink_to(one))
    return target


def replaced(file: Path, data: bytes) -> None:
    file.unlink()
    file.write_bytes(data)


def refusal(folder: Path, pooling: Pooling | None = None) -> str:
    """The error about the folder, or the folder's name if it is loaded."""
    try:
        build_graph(read_model(folder, pooling=pooling))
    except ModelError as error:
        return error.message
    return str(folder)


@given(data=st.data())
def test_odd_values_in_json_files(folders, tmp_path_factory, data):
    folder = copied(data.draw(st.sampled_from(folders)), tmp_path_factory.getbasetemp() / "odd")
    files = [file for file in sorted(folder.rglob("*.json")) if file.name != "tokenizer.json"]
    for _ in range(data.draw(st.integers(1, 3))):
        file = data.draw(st.sampled_from(files))
        values = json.loads(file.read_text())
        values[data.draw(st.sampled_from([*values, *KEYS]))] = data.draw(VALUES)
        replaced(file, json.dumps(values).encode())
    assert str(folder) in refusal(folder, data.draw(st.sampled_from([None, Pooling.MEAN, Pooling.SPLADE])))


@given(data=st.data())
def test_odd_bytes_in_the_header_of_the_weights(folders, tmp_path_factory, data):
    folder = copied(data.draw(st.sampled_from(folders)), tmp_path_factory.getbasetemp() / "bytes")
    file = folder / "model.safetensors"
    content = bytearray(file.read_bytes())
    header = 8 + int.from_bytes(content[:8], "little")
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, header - 1))] = data.draw(st.integers(0, 255))
    replaced(file, bytes(content[: data.draw(st.one_of(st.just(len(content)), st.integers(0, len(content))))]))
    assert str(folder) in refusal(folder)
