"""Dense layers in bytes: how far from float32, the same beside any stranger, and measured and told at load."""

import logging
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from safetensors.numpy import save_file

from embedfleet.engine.backends import make_backend
from embedfleet.engine.batching.worker import join
from embedfleet.engine.compute.embedding_pooler import EmbeddingPooler
from embedfleet.engine.compute.output import Output
from embedfleet.engine.compute.output_heads import outputs_of
from embedfleet.engine.compute.pooling import normalize
from embedfleet.engine.families.ops import Linear
from embedfleet.engine.files.weights import Weights
from embedfleet.engine.model.builtin import builtin_model
from embedfleet.engine.model.spec import Pooling, read_model
from embedfleet.engine.onnx.backend import OnnxBackend
from embedfleet.engine.onnx.int8_error import TEXTS, errors_of
from embedfleet.engine.onnx.ops import OnnxOps
from embedfleet.engine.onnx.packed_weights import own_model
from embedfleet.engine.onnx.processor import has_int8, require_int8
from embedfleet.engine.onnx.quantization import LARGEST, quantize
from embedfleet.engine.onnx.session import OnnxSession
from embedfleet.engine.onnx.stamp import read_stamp
from embedfleet.engine.text.tokenization import Tokenization
from embedfleet.engine.text.truncation import TextLimits
from embedfleet.errors import ModelError
from tests.services.family_models import FAMILIES, save
from tests.services.jina import make_jina
from tests.services.m3 import make_m3
from tests.services.models import make_bert, make_xlm
from tests.services.onnx_export import to_onnx
from tests.unit.engine.compute.test_batch_independence import MODELS
from tests.unit.engine.test_reference import PARAGRAPHS

WITH_VNNI = "flags : fpu sse4_2 avx2 avx512f avx512_vnni"
WITHOUT = "flags : fpu sse4_2 avx avx2 fma"
BUILTIN = 0.02  # cosine distance of a vector of the built-in model, at most
RANDOM = 0.001  # the same of small random models
SCORES = 0.05  # a score, 0 to 1, at most
BATCH = 1e-3  # how far one number of a vector may move with its batch


def encode(spec, texts):
    limits = TextLimits(spec.max_input_length, truncate=True, direction="right")
    return Tokenization(spec.tokenizer_file).encode(texts, limits, None)


def vectors(backend, spec, inputs):
    """Of inputs that are computed together, each one's vector."""
    (states,) = backend.forward(*join(inputs), (Output.STATES,))
    ends = np.cumsum([len(item.ids) for item in inputs])
    return [normalize(EmbeddingPooler(spec)(part)) for part in np.split(states, ends[:-1])]


def errors(folder, **options):
    return {error.output: error for error in own_model(read_model(folder, **options), int8=True).errors}


# What is computed.


@given(arrays(np.float32, (5, 7), elements=st.floats(-100, 100, width=32)))
@example(np.full((5, 7), 8.775e-42, np.float32))
def test_a_matrix_is_never_farther_than_half_a_step_and_symmetric(weight):
    whole, steps = quantize(weight)
    assert whole.dtype == np.int8
    assert np.abs(whole.astype(int)).max(initial=0) <= LARGEST
    assert (np.abs(whole.T * steps[:, None] - weight) <= 0.501 * steps[:, None] + 1e-30).all()
    np.testing.assert_array_equal(quantize(-weight)[0], -whole)


@pytest.mark.parametrize("odd", [np.nan, np.inf])
def test_a_row_that_is_not_finite_stays_so_and_spoils_no_other(odd):
    weight = np.ones((3, 4), np.float32)
    weight[1, 2] = odd
    steps = quantize(weight)[1]
    assert np.isfinite(steps).tolist() == [True, False, True]


@pytest.mark.parametrize("output", [Output.STATES, Output.CLASSES, Output.LEXICAL])
@pytest.mark.parametrize("odd", [np.nan, np.inf])
def test_a_model_whose_numbers_in_int8_are_not_finite_is_refused(output, odd):
    exact, found = np.ones((2, 3), np.float32), np.ones((2, 3), np.float32)
    found[1, 1] = odd
    with pytest.raises(ModelError, match="of 1 of 2 texts are not finite") as caught:
        errors_of({output: [exact, exact]}, {output: [exact, found]})
    assert "precision to float32" in caught.value.hint


@pytest.mark.parametrize("bias", [True, False])
def test_a_dense_layer_is_the_product_of_whole_numbers_with_a_step_per_token_and_output(tmp_path, bias):
    rng = np.random.default_rng(0)
    states = rng.standard_normal((6, 64)).astype(np.float32) * np.array([[1], [1e-4], [1e4], [0], [1], [1]], np.float32)
    weight = rng.standard_normal((20, 64)).astype(np.float32)
    states[4], weight[4] = 3.0, 1.0  # all bytes the greatest: where products of pairs overflow 16 bits, here they do
    tensors = {"states": states, "weight": weight, "bias": rng.standard_normal(20).astype(np.float32)}
    found = run_dense(tmp_path, tensors, bias=bias)
    whole, steps = quantize(weight)
    own = np.maximum(np.abs(states).max(axis=1, keepdims=True), np.float32(1e-30)) * np.float32(1 / 127)
    expected = (np.rint(states / own).astype(int) @ whole.astype(int)) * steps * own + bias * tensors["bias"]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    exact = states @ weight.T + bias * tensors["bias"]
    assert np.abs(found - exact).max() > 1e-4  # bytes it was


def test_a_layer_of_few_outputs_is_left_as_it_is(tmp_path):
    rng = np.random.default_rng(0)
    tensors = {"states": rng.standard_normal((6, 64)).astype(np.float32)}
    tensors |= {"weight": rng.standard_normal((3, 64)).astype(np.float32), "bias": np.zeros(3, np.float32)}
    found = run_dense(tmp_path, tensors, bias=False)
    np.testing.assert_allclose(found, tensors["states"] @ tensors["weight"].T, atol=1e-5)


def run_dense(folder: Path, tensors, *, bias: bool):
    save_file(tensors, folder / "model.safetensors")
    weights = Weights(folder / "model.safetensors")
    found = {name: weights.head(name, *values.shape) for name, values in tensors.items()}
    ops = OnnxOps(int8=True)
    output = ops.dense(ops.embed(found["states"], ops.ids), Linear(found["weight"], found["bias"] if bias else None))
    session = OnnxSession.of_graph(ops.build([output]), folder)
    return session.run([output], {"ids": np.arange(len(tensors["states"]))}, "rows")[0]


# How far it is from float32.


def test_vectors_of_the_built_in_model_are_so_near():
    spec = read_model(builtin_model())
    exact, int8 = OnnxBackend(spec), OnnxBackend(spec, int8=True)
    distances = []
    for item in encode(spec, PARAGRAPHS[:60]):
        (ours,), (theirs,) = vectors(int8, spec, [item]), vectors(exact, spec, [item])
        distances.append(1 - np.float64(ours @ theirs))
    assert max(distances) < BUILTIN
    assert np.mean(distances) > 1e-5  # bytes it was


@pytest.mark.parametrize("family", [*FAMILIES, "jina_bert"])
def test_vectors_of_every_family_are_so_near(tmp_path, family):
    folder = tmp_path / "m"
    if family == "jina_bert":
        make_jina(folder, heads=2, longest=64)
    else:
        folder.mkdir()
        save(folder, FAMILIES[family], "Model", {})
    error = errors(folder, pooling=Pooling.MEAN)[Output.STATES]
    bound = 3 * RANDOM if family == "gemma3_text" else RANDOM  # twice the layers, and a norm after each part
    assert 0 < error.mean <= error.worst < bound


@pytest.mark.parametrize("labels", [1, 3], ids=["a reranker", "a classifier"])
def test_scores_are_so_near(tmp_path, labels):
    error = errors(make_xlm(tmp_path / "m", labels=labels))[Output.CLASSES]
    assert 0 < error.mean <= error.worst < SCORES


def test_word_weights_and_all_of_bge_m3_are_so_near(tmp_path):
    assert errors(make_bert(tmp_path / "splade"), pooling=Pooling.SPLADE)[Output.WORDS].worst < RANDOM
    found = errors(make_m3(tmp_path / "m3"))
    assert list(found) == [Output.STATES, Output.LEXICAL, Output.COLBERT]
    assert max(found[Output.STATES].worst, found[Output.COLBERT].worst) < RANDOM


@pytest.mark.parametrize("name", MODELS)
def test_a_vector_hardly_moves_with_its_batch(tmp_path, name):
    spec = read_model(MODELS[name](tmp_path / "m"), pooling=Pooling.MEAN)
    backend, inputs = OnnxBackend(spec, int8=True), encode(spec, PARAGRAPHS[:60])
    alone = [vectors(backend, spec, [item])[0] for item in inputs]
    for size in (2, 7, 30):
        order = random.Random(size).sample(range(len(inputs)), size)
        for index, vector in zip(order, vectors(backend, spec, [inputs[index] for index in order]), strict=True):
            np.testing.assert_allclose(vector, alone[index], atol=BATCH, rtol=0)


# What is told of it.


def test_the_error_is_measured_on_the_model_and_told_at_load(caplog):
    spec = read_model(builtin_model())
    with caplog.at_level(logging.INFO):
        int8 = OnnxBackend(spec, int8=True)
        exact = OnnxBackend(spec)
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
    """Outputs of a model on packed weights, and the errors that were logged."""
    caplog.clear()
    spec = read_model(folder)
    with caplog.at_level(logging.INFO):
        backend = OnnxBackend(spec, root, int8=int8)
    ids = np.arange(5, 45)
    found = backend.forward(ids, np.zeros_like(ids), np.array([10, 30]), outputs_of(spec))
    return found, [record.worst for record in caplog.records if hasattr(record, "worst")]


def test_packed_it_is_the_same_and_only_who_packs_measures(tmp_path, caplog):
    folder, root = make_m3(tmp_path / "m"), tmp_path / "packed"
    own, told = load(folder, None, caplog)
    for _ in range(2):
        found, again = load(folder, root, caplog)
        assert again == told
        for ours, theirs in zip(found, own, strict=True):
            np.testing.assert_array_equal(ours, theirs)
    (stamp,) = root.glob("*/complete.json")
    values = read_stamp(stamp)
    stamp.chmod(0o600)
    stamp.write_bytes(replace(values, errors=(replace(values.errors[0], worst=0.5), *values.errors[1:])).to_bytes())
    assert load(folder, root, caplog)[1] == [0.5, *told[1:]]


def test_packed_in_float32_and_in_int8_live_beside_each_other(tmp_path, caplog):
    folder, root = make_xlm(tmp_path / "m"), tmp_path / "packed"
    int8, told = load(folder, root, caplog)
    exact, nothing = load(folder, root, caplog, int8=False)
    assert len(list(root.glob("*/complete.json"))) == 2
    assert (len(told), nothing) == (1, [])
    assert not np.array_equal(int8[0], exact[0])
    np.testing.assert_array_equal(exact[0], load(folder, None, caplog, int8=False)[0][0])
    small, large = sorted(file.stat().st_size for file in root.glob("*/model.onnx.weights"))
    assert small < large


# Where it is refused.


@pytest.mark.parametrize(
    "flags",
    [
        WITH_VNNI,
        "flags\t\t: avx2 avx_vnni",
        "flags : avx512f amx_int8",
        "Features : fp asimd asimddp",
        "Features : asimd i8mm",
    ],
)
def test_a_processor_with_products_of_bytes_is_taken(flags):
    assert has_int8(flags)
    require_int8(flags)


@pytest.mark.parametrize(
    ("flags", "has"), [(WITHOUT, "avx2"), ("Features : fp asimd", "asimd"), ("", "none"), ("flags : not_avx_vnni", "")]
)
def test_another_is_refused_by_what_it_has(flags, has):
    assert not has_int8(flags)
    with pytest.raises(ModelError, match=f"avx512_vnni.*this one has {has}") as caught:
        require_int8(flags)
    assert "float32" in caught.value.hint


def test_it_is_had_only_when_asked_for_and_where_it_can_be(tmp_path):
    spec = read_model(make_xlm(tmp_path / "m"))
    assert make_backend(spec, precision="int8", flags=WITH_VNNI).precision == "int8"
    assert make_backend(spec, precision="auto", flags=WITH_VNNI).precision == "float32"
    with pytest.raises(ModelError, match="needs a processor with"):
        make_backend(spec, precision="int8", flags=WITHOUT)
    with pytest.raises(ModelError, match="backend torch does not compute in int8") as caught:
        make_backend(spec, "torch", precision="int8", flags=WITH_VNNI)
    assert "backend to onnx" in caught.value.hint
    with pytest.raises(ModelError, match="device is 'cuda'"):
        make_backend(spec, device="cuda", precision="int8", flags=WITH_VNNI)


def test_a_folder_of_an_onnx_file_alone_is_refused(tmp_path):
    spec = read_model(to_onnx(make_xlm(tmp_path / "m")))
    with pytest.raises(ModelError, match=r"has only model\.onnx") as caught:
        make_backend(spec, precision="int8", flags=WITH_VNNI)
    assert "model.safetensors" in caught.value.hint
