"""Served numbers are float32, finite, and normalised where requested; otherwise the request fails."""

import asyncio
import json
import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedfleet.dialects.json_body import Fields
from embedfleet.dialects.serving.bge_m3 import Encoding, Scoring
from embedfleet.dialects.serving.tei import RerankRequest, SimilarityRequest, Truncation, parse_embed, parse_predict
from embedfleet.engine.api.operations import Operations
from embedfleet.engine.backends import make_backend
from embedfleet.engine.compute import bge_m3
from embedfleet.engine.compute.output_heads import outputs_of
from embedfleet.engine.compute.pooling import max_sim, normalize, unit
from embedfleet.engine.engine import load
from embedfleet.engine.model.builtin import builtin_model
from embedfleet.engine.model.spec import Pooling, read_model
from embedfleet.engine.settings import EngineSettings
from embedfleet.errors import Backend, Empty, ModelError
from embedfleet.metrics import TEI, Registry
from tests.services.m3 import make_m3
from tests.services.models import make_bert, make_xlm
from tests.services.onnx_export import give_as, to_onnx

LENGTHS = np.array([7, 3, 1, 40], dtype=np.int64)
IDS = np.random.default_rng(0).integers(5, 30_000, LENGTHS.sum())
TYPES = np.zeros_like(IDS)
TEXTS = ["a red fox", "two green apples on a table", "Dies ist ein Satz."]
GREATEST = float(np.finfo(np.float32).max)


def operations(folder, **settings):
    """Load an engine; returns it and its operations. The caller closes it."""
    options = EngineSettings(model=str(folder), **settings)
    engine = load(options, Registry(TEI))
    return engine, Operations(engine, options)


def ask(folder, *requests, **settings):
    """Run requests, given as functions of `Operations`; returns the values, or the error, of each."""
    engine, work = operations(folder, **settings)

    async def one(request):
        try:
            return (await request(work))[0]
        except Backend as error:
            return error

    async def run():
        return [await one(request) for request in requests]

    try:
        return asyncio.run(run())
    finally:
        engine.close()


def embed(**fields):
    request = parse_embed(Fields({"inputs": TEXTS} | fields))
    return lambda work: work.embed(request)


def lengths_of(vectors):
    return np.linalg.norm(np.asarray(vectors, dtype=np.float64), axis=-1)


# Types


EXPORTS = {
    "an embedder": (make_xlm, None),
    "a reranker": (lambda folder: make_xlm(folder, labels=1), None),
    "a classifier": (lambda folder: make_bert(folder, labels=3), None),
    "SPLADE": (make_bert, Pooling.SPLADE),
}


@pytest.mark.parametrize("name", EXPORTS)
def test_numbers_of_another_type_are_served_as_float32(tmp_path, name):
    make, pooling = EXPORTS[name]
    folder = to_onnx(make(tmp_path / "m"))
    found = {}
    for kind in ("FLOAT", "FLOAT16", "DOUBLE"):
        spec = read_model(give_as(folder, tmp_path / kind, kind), pooling=pooling)
        (found[kind],) = make_backend(spec, EngineSettings()).forward(IDS, TYPES, LENGTHS, outputs_of(spec))
        assert found[kind].dtype == np.float32
    np.testing.assert_allclose(found["DOUBLE"], found["FLOAT"], rtol=1e-6)
    np.testing.assert_allclose(found["FLOAT16"], found["FLOAT"], rtol=2e-3, atol=1e-3)


@pytest.mark.parametrize("kind", ["BFLOAT16", "INT64"])
def test_an_unsupported_type_is_refused_by_its_name(tmp_path, kind):
    folder = give_as(to_onnx(make_xlm(tmp_path / "m")), tmp_path / kind, kind)
    with pytest.raises(ModelError, match=rf"gives last_hidden_state of type tensor\({kind.lower()}\)"):
        make_backend(read_model(folder), EngineSettings())


@pytest.fixture(scope="module")
def export(tmp_path_factory):
    return to_onnx(make_xlm(tmp_path_factory.mktemp("export") / "m"))


def test_a_vector_whose_squares_are_beyond_float16_is_of_length_one(tmp_path, export):
    similarity = SimilarityRequest(TEXTS[0], TEXTS, Truncation(), None)
    requests = [embed(), embed(normalize=False), lambda work: work.similarity(similarity)]
    requests.append(lambda work: work.embed_all(parse_embed(Fields({"inputs": TEXTS}))))
    halves = ask(give_as(export, tmp_path / "half", "FLOAT16", factor=2000.0), *requests)
    singles = ask(give_as(export, tmp_path / "single", "FLOAT", factor=2000.0), *requests)
    for half, single in zip(halves, singles, strict=True):
        for ours, theirs in zip(half, single, strict=True):
            assert ours.dtype == np.float32
            np.testing.assert_allclose(ours, theirs, rtol=2e-3, atol=2e-3 * np.abs(theirs).max())
    np.testing.assert_allclose(lengths_of(halves[0]), 1, atol=1e-6)
    assert np.abs(halves[1]).max() ** 2 > np.finfo(np.float16).max  # squares in float16 would overflow


@pytest.mark.parametrize(("kind", "factor"), [("FLOAT16", 1e5), ("DOUBLE", 1e60)])
def test_an_overflow_is_an_error_and_never_a_number(tmp_path, export, kind, factor):
    folder = give_as(export, tmp_path / "m", kind, factor=factor)
    whole = parse_embed(Fields({"inputs": TEXTS}))
    for answer in ask(folder, embed(), embed(normalize=False), lambda work: work.embed_all(whole)):
        assert isinstance(answer, Backend)
        assert "not finite" in str(answer)


def test_a_classifiers_probabilities_are_float32_and_finite_whatever_its_logits(tmp_path):
    folder = to_onnx(make_bert(tmp_path / "m", labels=3))
    request = parse_predict(Fields({"inputs": [[text] for text in TEXTS]}))
    (rows,) = ask(give_as(folder, tmp_path / "half", "FLOAT16", factor=5000.0), lambda work: work.predict(request))
    for row in rows:
        assert sum(item["score"] for item in row) == pytest.approx(1, abs=1e-5)


# Lengths


def dense(folder, rows):
    """MiniLM with a layer after its pooling."""
    from safetensors.numpy import save_file

    weight = np.asarray(rows, dtype=np.float32)
    shutil.copytree(builtin_model(), folder)
    (folder / "2_Dense").mkdir()
    config = {"in_features": weight.shape[1], "out_features": len(weight), "bias": False}
    config["activation_function"] = "torch.nn.modules.linear.Identity"
    (folder / "2_Dense" / "config.json").write_text(json.dumps(config))
    save_file({"linear.weight": weight}, folder / "2_Dense" / "model.safetensors")
    names = {"": "Transformer", "1_Pooling": "Pooling", "2_Dense": "Dense"}
    modules = [
        {"idx": index, "name": str(index), "path": path, "type": f"sentence_transformers.models.{name}"}
        for index, (path, name) in enumerate(names.items())
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    return folder


WEIGHT = np.random.default_rng(2).standard_normal((16, 384)).astype(np.float32)


@pytest.mark.parametrize("factor", [1e-42, 1e-30, 1e-15, 1e15, 1e30])
def test_vectors_of_any_magnitude_are_of_length_one_in_the_same_direction(tmp_path, factor):
    (usual,) = ask(dense(tmp_path / "usual", WEIGHT), embed())
    scaled, raw = ask(dense(tmp_path / "scaled", WEIGHT * np.float32(factor)), embed(), embed(normalize=False))
    np.testing.assert_allclose(lengths_of(scaled), 1, atol=1e-6)
    np.testing.assert_allclose(scaled, usual, atol=1e-2 if factor == 1e-42 else 1e-5)  # a denormal has few digits
    assert np.isfinite(raw).all()


def test_a_vector_of_zeros_cannot_be_normalised(tmp_path):
    similarity = SimilarityRequest(TEXTS[0], TEXTS, Truncation(), None)
    folder = dense(tmp_path / "m", WEIGHT * 0)
    normal, alike, raw = ask(folder, embed(), lambda work: work.similarity(similarity), embed(normalize=False))
    for answer in (normal, alike):
        assert isinstance(answer, Backend)
        assert "has no direction" in str(answer)
    assert not raw.any()


def test_dimensions_that_leave_only_zeros_are_refused_and_more_are_of_length_one(tmp_path):
    weight = WEIGHT.copy()
    weight[:4] = 0
    few, more = ask(dense(tmp_path / "m", weight), embed(dimensions=4), embed(dimensions=5))
    assert "the part that `dimensions` keeps" in str(few)
    np.testing.assert_allclose(np.abs(more), [[0, 0, 0, 0, 1]] * len(TEXTS), atol=1e-7)


numbers = st.floats(width=32, allow_nan=False, allow_infinity=False)


@given(st.lists(st.lists(numbers, min_size=3, max_size=3), min_size=1, max_size=4))
def test_a_row_is_brought_to_length_one_or_is_zero(rows):
    vectors = np.array(rows, dtype=np.float32)
    found = normalize(vectors)
    assert found.dtype == np.float32
    wanted = vectors.any(axis=1).astype(np.float64)
    np.testing.assert_allclose(lengths_of(found), wanted, atol=1e-6)
    if wanted.all():
        np.testing.assert_array_equal(unit(vectors), found)
    else:
        with pytest.raises(Backend, match="no direction"):
            unit(vectors)


def test_a_tokens_vector_of_zeros_is_an_error():
    with pytest.raises(Backend, match="no direction"):
        bge_m3.colbert_vectors(np.array([[1, 2], [3, 4], [0, 0]], dtype=np.float32))
    assert bge_m3.colbert_vectors(np.ones((1, 2), dtype=np.float32)).shape == (0, 2)


def test_late_interaction_of_great_and_small_states_is_a_cosine():
    query = np.array([[GREATEST, GREATEST], [1e-45, 0]], dtype=np.float32)
    assert max_sim(query, query) == pytest.approx(1)


def test_a_score_beyond_float32_is_an_error():
    side = Encoding(lexical={7: 1e30})
    with pytest.raises(Backend, match=r"the score is 1e\+60, which exceeds float32"):
        bge_m3.score(side, side, Scoring(sparse=1.0))


# Texts without content


def rerank(query, texts, **fields):
    return RerankRequest(query, texts, Truncation(), fields.get("raw_scores", False), return_text=False)


BLANK = ["", " ", "\n\t ", "\u0007", "\u200b"]


@pytest.mark.parametrize("prompt", ["", "passage: "])
def test_a_text_without_tokens_scores_least_and_does_not_fail_the_others(prompt):
    texts = ["a red fox", *BLANK]
    asked = [rerank("foxes", texts), rerank("foxes", texts, raw_scores=True), rerank("foxes", texts[:1])]
    work = [lambda work, request=request: work.rerank(request) for request in asked]
    scores, raw, alone = ask(builtin_model(), *work, task="rerank", default_prompt=prompt)
    # A prompt is put before every text that is not white space, so before the last two too.
    blank = len(BLANK) if not prompt else 3
    assert scores[1 : blank + 1].tolist() == [0.0] * blank
    assert raw[1 : blank + 1].tolist() == [-1.0] * blank
    assert scores[0] == pytest.approx(alone[0], abs=1e-6)
    assert scores[0] == scores.max() > 0.5


@pytest.mark.parametrize("query", BLANK)
def test_a_query_without_tokens_finds_nothing(query):
    (scores,) = ask(builtin_model(), lambda work: work.rerank(rerank(query, ["a red fox", ""])), task="rerank")
    assert scores.tolist() == [0.0, 0.0]


def test_a_tokenizer_that_adds_nothing_leaves_an_empty_text_no_token_at_all(tmp_path):
    folder = shutil.copytree(builtin_model(), tmp_path / "m")
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer["post_processor"] = None
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    requests = [rerank("foxes", ["", "a red fox", " "]), rerank("", ["a"]), rerank("", [""])]
    work = [lambda work, request=request: work.rerank(request) for request in requests]
    some, none, nothing = ask(folder, *work, task="rerank")
    assert some[1] > some[0] == some[2] == 0.0
    assert none.tolist() == nothing.tolist() == [0.0]


def test_bge_m3s_heads_say_what_an_empty_text_scores(tmp_path):
    folder, texts = make_m3(tmp_path / "m3"), ["a red fox", "", " "]
    scorings = [Scoring(dense=1.0), Scoring(sparse=1.0), Scoring(colbert=1.0), Scoring(1.0, 1.0, 1.0), None]
    work = [lambda work, way=way: work.rerank(rerank("foxes", texts), way) for way in scorings]
    for scores in ask(folder, *work, task="rerank"):
        assert np.isfinite(scores).all()
        assert len(scores) == len(texts)
    (lexical,) = ask(folder, work[1])
    assert lexical[1] == 0


def test_an_empty_text_to_embed_or_to_compare_is_refused_as_tei_does():
    for inputs in (["a", ""], [""]):
        with pytest.raises(Empty):
            ask(builtin_model(), embed(inputs=inputs))
    with pytest.raises(Empty):
        ask(builtin_model(), lambda work: work.similarity(SimilarityRequest("a", ["b", ""], Truncation(), None)))
