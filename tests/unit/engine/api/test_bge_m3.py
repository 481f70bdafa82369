"""bge-m3's three outputs, computed in one pass, equal FlagEmbedding's, alone and in a batch with other texts."""

import asyncio

import numpy as np
import pytest

from embedfleet.dialects.json_body import Fields
from embedfleet.dialects.serving.bge_m3 import Scoring, parse_encode, parse_scoring
from embedfleet.dialects.serving.tei import RerankRequest, SimilarityRequest, Truncation, parse_embed
from embedfleet.engine.api.operations import Operations
from embedfleet.engine.engine import load
from embedfleet.engine.settings import EngineSettings
from embedfleet.errors import Backend, Validation
from embedfleet.metrics import TEI, Registry
from tests.services.m3 import FlagEmbedding, make_m3
from tests.services.models import make_xlm

TOLERANCE = 1e-4
LIMIT = 128
TEXTS = [
    "what is a cat",
    "cats are cats, and a cat is a cat",
    "日本語の文章",
    "a",
    "tabby " * 300,
    "unknown \U00013000 sign",
    "deep learning for search and retrieval",
]
ALL = {"return_dense": True, "return_sparse": True, "return_colbert_vecs": True}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_m3(tmp_path_factory.mktemp("m3") / "model")


@pytest.fixture(scope="module")
def reference(folder):
    return FlagEmbedding(folder)


@pytest.fixture(scope="module")
def operations(folder):
    settings = EngineSettings(model=str(folder))
    engine = load(settings, Registry(TEI))
    yield Operations(engine, settings)
    engine.close()


def encode(operations, texts, **wanted):
    request = parse_encode(Fields({"inputs": texts} | (wanted or ALL)))

    async def run():
        return (await operations.encode(request))[0]

    return asyncio.run(run())


def as_ids(weights):
    return {int(token): float(weight) for token, weight in weights.items()}


@pytest.mark.parametrize("texts", [TEXTS, *[[text] for text in TEXTS]])
def test_all_three_outputs_equal_those_of_flagembedding(operations, reference, texts):
    expected = reference.encode(texts, LIMIT)
    found = encode(operations, texts)
    for number, encoding in enumerate(found):
        np.testing.assert_allclose(encoding.dense, expected["dense_vecs"][number], atol=TOLERANCE)
        np.testing.assert_allclose(encoding.colbert, expected["colbert_vecs"][number], atol=TOLERANCE)
        lexical = as_ids(expected["lexical_weights"][number])
        assert encoding.lexical.keys() == lexical.keys()
        for token, weight in lexical.items():
            assert encoding.lexical[token] == pytest.approx(weight, abs=TOLERANCE)
    assert texts != TEXTS or any(len(encoding.lexical) > 1 for encoding in found)


def test_only_requested_outputs_are_returned(operations):
    (encoding,) = encode(operations, ["a cat"], return_dense=False, return_sparse=True)
    assert encoding.dense is None
    assert encoding.colbert is None
    assert encoding.lexical is not None
    with pytest.raises(Validation, match="return_dense"):
        encode(operations, ["a"], return_dense=False)


def test_the_other_routes_return_the_same_numbers(operations):
    encodings = encode(operations, TEXTS)
    request = parse_embed(Fields({"inputs": TEXTS}))

    async def run():
        dense, _ = await operations.embed(request)
        sparse, _ = await operations.embed_sparse(request)
        colbert, _ = await operations.embed_all(request, colbert=True)
        return dense, sparse, colbert

    for encoding, dense, sparse, colbert in zip(encodings, *asyncio.run(run()), strict=True):
        np.testing.assert_allclose(dense, encoding.dense, atol=1e-6)
        assert sparse.keys() == encoding.lexical.keys()
        np.testing.assert_allclose(colbert, encoding.colbert, atol=1e-6)


@pytest.mark.parametrize(
    ("score", "name", "weights"),
    [
        ("dense", "dense", [1, 1, 1]),
        ("sparse", "sparse", [1, 1, 1]),
        ("colbert", "colbert", [1, 1, 1]),
        ({"dense": 1, "sparse": 0.3}, "sparse+dense", [1, 0.3, 1]),
        ({"dense": 0.4, "sparse": 0.2, "colbert": 0.4}, "colbert+sparse+dense", [0.4, 0.2, 0.4]),
    ],
)
def test_texts_are_scored_as_flagembedding_scores_them(operations, reference, score, name, weights):
    scoring = parse_scoring(Fields({"score": score}))
    query, texts = TEXTS[0], TEXTS[1:4]
    expected = [reference.scores(query, text, LIMIT, weights)[name][0] for text in texts]

    async def run():
        ranked = RerankRequest(query, texts, Truncation(), raw_scores=True, return_text=False)
        compared = SimilarityRequest(query, texts, Truncation(), None)
        return (await operations.rerank(ranked, scoring))[0], (await operations.similarity(compared, scoring))[0]

    for scores in asyncio.run(run()):
        np.testing.assert_allclose(scores, expected, atol=TOLERANCE)


@pytest.mark.parametrize(
    "score",
    ["cosine", 1, [], {}, {"dense": -1, "sparse": 2}, {"dense": 0}, {"dense": True}, {"x": 1}, {"dense": 1e999}],
)
def test_an_invalid_score_is_refused_with_its_value(score):
    with pytest.raises(Validation, match="`score` is"):
        parse_scoring(Fields({"score": score}))


def test_a_model_without_the_heads_names_the_missing_files(tmp_path):
    settings = EngineSettings(model=str(make_xlm(tmp_path / "model")))
    engine = load(settings, Registry(TEI))
    try:
        operations = Operations(engine, settings)
        with pytest.raises(Backend, match=r"colbert_linear\.pt"):
            encode(operations, ["a"])
        (encoding,) = encode(operations, ["a"], return_dense=True)
        assert encoding.dense is not None
        request = RerankRequest("q", ["a"], Truncation(), raw_scores=True, return_text=False)
        with pytest.raises(Backend, match="no lexical output"):
            asyncio.run(operations.rerank(request, Scoring(sparse=1)))
    finally:
        engine.close()
