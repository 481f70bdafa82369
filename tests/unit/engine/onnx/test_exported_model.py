"""An exported ONNX file gives the same numbers as a graph built from the same tensors."""

import json

import numpy as np
import pytest

from embedfleet.engine.backends import make_backend
from embedfleet.engine.compute.output_heads import outputs_of
from embedfleet.engine.model.spec import Pooling, read_model
from embedfleet.engine.onnx.backend import OnnxBackend
from embedfleet.engine.settings import EngineSettings
from embedfleet.errors import ModelError
from tests.services.models import make_bert, make_xlm
from tests.services.onnx_export import to_onnx

LENGTHS = np.array([7, 3, 1, 40], dtype=np.int64)
IDS = np.random.default_rng(0).integers(5, 30_000, LENGTHS.sum())
TYPES = np.random.default_rng(1).integers(0, 2, LENGTHS.sum())
MODELS = {
    "an embedder": (make_xlm, None),
    "a reranker": (lambda folder: make_xlm(folder, labels=1), None),
    "a classifier with token types": (lambda folder: make_bert(folder, labels=3), None),
    "SPLADE": (make_bert, Pooling.SPLADE),
}


def outputs(backend, spec):
    return backend.forward(IDS, TYPES, LENGTHS, outputs_of(spec))


@pytest.mark.parametrize("name", MODELS)
def test_its_numbers_are_those_of_the_tensors(tmp_path, name):
    make, pooling = MODELS[name]
    folder = make(tmp_path / "m")
    spec = read_model(folder, pooling=pooling)
    expected = outputs(OnnxBackend.load(spec), spec)
    to_onnx(folder)
    spec = read_model(folder, pooling=pooling)
    assert spec.is_onnx_file
    for ours, theirs in zip(outputs(make_backend(spec, EngineSettings()), spec), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5, rtol=1e-5)


def test_tensors_are_preferred(tmp_path):
    assert not read_model(to_onnx(make_xlm(tmp_path / "m"), keep=True)).is_onnx_file


@pytest.fixture
def exported(tmp_path):
    return to_onnx(make_xlm(tmp_path / "m"), output="token_embeddings")


def change(folder, **values):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | values))


def test_torch_cannot_run_it(exported):
    with pytest.raises(ModelError, match=r"backend torch needs the model's tensors, .* has only model.onnx"):
        make_backend(read_model(exported), EngineSettings(backend="torch"))


def test_a_file_of_another_model_is_refused_with_both_widths(exported):
    change(exported, hidden_size=64)
    with pytest.raises(ModelError, match=r"token_embeddings is 32 wide, config.json asks for 64"):
        make_backend(read_model(exported), EngineSettings())


def test_a_file_without_the_head_that_the_config_names_is_refused_with_what_it_gives(exported):
    change(exported, architectures=["XLMRobertaForSequenceClassification"], id2label={"0": "a"})
    with pytest.raises(ModelError, match="gives token_embeddings of 3 dimensions; needed: logits of 2 dimensions"):
        make_backend(read_model(exported), EngineSettings())


@pytest.mark.parametrize("size", [0, 100, 5000])
def test_a_truncated_file_is_refused_by_name(exported, size):
    file = exported / "onnx" / "model.onnx"
    file.write_bytes(file.read_bytes()[:size])
    with pytest.raises(ModelError, match=r"onnx/model\.onnx"):
        make_backend(read_model(exported), EngineSettings())


def test_an_input_that_we_cannot_give_is_named(exported):
    import onnx

    file = exported / "onnx" / "model.onnx"
    model = onnx.load(file)
    for value in model.graph.input:
        if value.name == "attention_mask":
            value.name = "pixel_values"
    for node in model.graph.node:
        node.input[:] = ["pixel_values" if name == "attention_mask" else name for name in node.input]
    onnx.save(model, file)
    with pytest.raises(ModelError, match="takes the input 'pixel_values'"):
        make_backend(read_model(exported), EngineSettings())


def test_a_file_and_its_data_may_be_links_to_elsewhere(exported, tmp_path):
    import onnx

    file = exported / "onnx" / "model.onnx"
    spec = read_model(exported)
    (before,) = outputs(make_backend(spec, EngineSettings()), spec)
    onnx.save(onnx.load(file), file, save_as_external_data=True, location="model.onnx_data", size_threshold=0)
    for name in ("model.onnx", "model.onnx_data"):
        away = tmp_path / f"blob-{name}"
        (exported / "onnx" / name).rename(away)
        (exported / "onnx" / name).symlink_to(away)
    (after,) = outputs(make_backend(spec, EngineSettings()), spec)
    np.testing.assert_array_equal(after, before)
