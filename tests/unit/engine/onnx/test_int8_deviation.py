"""Models in int8: close to float32, independent of their batch, and with a deviation that is logged at load."""

import logging
import random
from dataclasses import replace

import numpy as np
import pytest

from embedfleet.engine.batching.worker import join
from embedfleet.engine.compute.embedding_pooler import EmbeddingPooler
from embedfleet.engine.compute.output import Output
from embedfleet.engine.compute.output_heads import outputs_of
from embedfleet.engine.compute.pooling import normalize
from embedfleet.engine.model.builtin import builtin_model
from embedfleet.engine.model.spec import Pooling, read_model
from embedfleet.engine.onnx.backend import OnnxBackend
from embedfleet.engine.onnx.int8_deviation import TEXTS, deviations_of
from embedfleet.engine.onnx.model import own_model
from embedfleet.engine.onnx.packed_manifest import read_manifest
from embedfleet.engine.text.tokenization import Tokenization
from embedfleet.engine.text.truncation import TextLimits
from embedfleet.errors import ModelError
from tests.services.family_models import FAMILIES, save
from tests.services.jina import make_jina
from tests.services.m3 import make_m3
from tests.services.models import make_bert, make_xlm
from tests.unit.engine.compute.test_batch_independence import MODELS
from tests.unit.engine.test_reference import PARAGRAPHS

BUILTIN = 0.02  # largest cosine distance of a vector of the built-in model
RANDOM = 0.001  # the same for small random models
SCORES = 0.05  # largest difference of a score between 0 and 1
BATCH = 1e-3  # largest change of one number of a vector with its batch


def encode(spec, texts):
    limits = TextLimits(spec.max_input_length, truncate=True, direction="right")
    return Tokenization(spec.tokenizer_file).encode(texts, limits, None)


def vectors(backend, spec, inputs):
    """The vector of each input, all computed in one pass."""
    (states,) = backend.forward(*join(inputs), (Output.STATES,))
    ends = np.cumsum([len(item.ids) for item in inputs])
    return [normalize(EmbeddingPooler(spec)(part)) for part in np.split(states, ends[:-1])]


def deviations(folder, **options):
    return {item.output: item for item in own_model(read_model(folder, **options), int8=True).deviations}


@pytest.mark.parametrize("output", [Output.STATES, Output.CLASSES, Output.LEXICAL])
@pytest.mark.parametrize("odd", [np.nan, np.inf])
def test_a_model_whose_numbers_in_int8_are_not_finite_is_refused(output, odd):
    exact, found = np.ones((2, 3), np.float32), np.ones((2, 3), np.float32)
    found[1, 1] = odd
    with pytest.raises(ModelError, match=r"1 of 2 texts have .* that are not finite") as caught:
        deviations_of({output: [exact, exact]}, {output: [exact, found]})
    assert "precision to float32" in caught.value.hint


def test_vectors_of_the_built_in_model_are_close():
    spec = read_model(builtin_model())
    exact, int8 = OnnxBackend.load(spec), OnnxBackend.load(spec, int8=True)
    distances = []
    for item in encode(spec, PARAGRAPHS[:60]):
        (ours,), (theirs,) = vectors(int8, spec, [item]), vectors(exact, spec, [item])
        distances.append(1 - np.float64(ours @ theirs))
    assert max(distances) < BUILTIN
    assert np.mean(distances) > 1e-5  # proof that it was int8


@pytest.mark.parametrize("family", [*FAMILIES, "jina_bert"])
def test_vectors_of_every_family_are_close(tmp_path, family):
    folder = tmp_path / "m"
    if family == "jina_bert":
        make_jina(folder, heads=2, longest=64)
    else:
        folder.mkdir()
        save(folder, FAMILIES[family], "Model", {})
    deviation = deviations(folder, pooling=Pooling.MEAN)[Output.STATES]
    bound = 3 * RANDOM if family == "gemma3_text" else RANDOM  # twice the layers, and a norm after each part
    assert 0 < deviation.mean <= deviation.worst < bound


@pytest.mark.parametrize("labels", [1, 3], ids=["a reranker", "a classifier"])
def test_scores_are_close(tmp_path, labels):
    deviation = deviations(make_xlm(tmp_path / "m", labels=labels))[Output.CLASSES]
    assert 0 < deviation.mean <= deviation.worst < SCORES


def test_word_weights_and_all_outputs_of_bge_m3_are_close(tmp_path):
    assert deviations(make_bert(tmp_path / "splade"), pooling=Pooling.SPLADE)[Output.WORDS].worst < RANDOM
    found = deviations(make_m3(tmp_path / "m3"))
    assert list(found) == [Output.STATES, Output.LEXICAL, Output.COLBERT]
    assert max(found[Output.STATES].worst, found[Output.COLBERT].worst) < RANDOM


@pytest.mark.parametrize("name", MODELS)
def test_a_vector_hardly_moves_with_its_batch(tmp_path, name):
    spec = read_model(MODELS[name](tmp_path / "m"), pooling=Pooling.MEAN)
    backend, inputs = OnnxBackend.load(spec, int8=True), encode(spec, PARAGRAPHS[:60])
    alone = [vectors(backend, spec, [item])[0] for item in inputs]
    for size in (2, 7, 30):
        order = random.Random(size).sample(range(len(inputs)), size)
        for index, vector in zip(order, vectors(backend, spec, [inputs[index] for index in order]), strict=True):
            np.testing.assert_allclose(vector, alone[index], atol=BATCH, rtol=0)


def test_the_deviation_is_measured_on_the_model_and_logged_at_load(caplog):
    spec = read_model(builtin_model())
    with caplog.at_level(logging.INFO):
        int8 = OnnxBackend.load(spec, int8=True)
        exact = OnnxBackend.load(spec)
    assert (int8.precision, exact.precision) == ("int8", "float32")
    inputs = encode(spec, TEXTS)
    pairs = [(vectors(int8, spec, [item])[0], vectors(exact, spec, [item])[0]) for item in inputs]
    distances = [1 - float(ours.astype(np.float64) @ theirs) for ours, theirs in pairs]
    (record,) = (record for record in caplog.records if "float32" in record.message)
    assert record.levelname == "INFO"
    assert f"cosine distance of {max(distances):.2g} at worst" in record.message
    assert record.worst == pytest.approx(max(distances), rel=1e-3)
    assert record.mean == pytest.approx(np.mean(distances), rel=1e-3)
    assert (record.output, record.inputs) == ("states", len(TEXTS))


def load(folder, root, caplog, *, int8=True):
    """The outputs of a model on packed weights, and the deviations that were logged."""
    caplog.clear()
    spec = read_model(folder)
    with caplog.at_level(logging.INFO):
        backend = OnnxBackend.load(spec, root, int8=int8)
    ids = np.arange(5, 45)
    found = backend.forward(ids, np.zeros_like(ids), np.array([10, 30]), outputs_of(spec))
    return found, [record.worst for record in caplog.records if hasattr(record, "worst")]


def test_packed_outputs_are_the_same_and_only_packing_measures(tmp_path, caplog):
    folder, root = make_m3(tmp_path / "m"), tmp_path / "packed"
    own, told = load(folder, None, caplog)
    for _ in range(2):
        found, again = load(folder, root, caplog)
        assert again == told
        for ours, theirs in zip(found, own, strict=True):
            np.testing.assert_array_equal(ours, theirs)
    (manifest,) = root.glob("*/complete.json")
    values = read_manifest(manifest)
    deviations = (replace(values.deviations[0], worst=0.5), *values.deviations[1:])
    manifest.chmod(0o600)
    manifest.write_bytes(replace(values, deviations=deviations).to_bytes())
    assert load(folder, root, caplog)[1] == [0.5, *told[1:]]


def test_a_model_can_be_packed_in_float32_and_in_int8(tmp_path, caplog):
    folder, root = make_xlm(tmp_path / "m"), tmp_path / "packed"
    int8, told = load(folder, root, caplog)
    exact, nothing = load(folder, root, caplog, int8=False)
    assert len(list(root.glob("*/complete.json"))) == 2
    assert (len(told), nothing) == (1, [])
    assert not np.array_equal(int8[0], exact[0])
    np.testing.assert_array_equal(exact[0], load(folder, None, caplog, int8=False)[0][0])
    small, large = sorted(file.stat().st_size for file in root.glob("*/model.onnx.weights"))
    assert small < large
