"""Folders like the hub's BAAI/bge-m3 and BAAI/bge-reranker-v2-m3, in the usual place, need no settings."""

import numpy as np
import pytest

from tests.services.fleet import fleet
from tests.services.m3 import FlagEmbedding, make_m3
from tests.services.models import Reference, make_xlm

pytestmark = pytest.mark.slow

# No blank at the end: transformers 5 splits at blanks first, whatever tokenizer.json says, which TEI and we follow.
TEXTS = [f"text {number}" + " of some length" * (number % 9) for number in range(150)]


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bge")
    (folder / "models").mkdir()
    make_m3(folder / "models" / "bge-m3")
    make_xlm(folder / "models" / "bge-reranker-v2-m3", labels=1)
    with fleet(folder) as running:
        yield running


def test_the_embedder_gives_all_three_outputs_of_more_texts_than_a_replica_takes(running):
    reference = FlagEmbedding(running.folder / "models" / "bge-m3").encode(TEXTS, 128)
    answer = running.embedder.post("/encode", {"inputs": TEXTS, "return_sparse": True, "return_colbert_vecs": True})
    assert int(answer.headers["x-chunks"]) > 1
    np.testing.assert_allclose(answer.json["dense_vecs"], reference["dense_vecs"], atol=1e-4)
    for found, expected in zip(answer.json["colbert_vecs"], reference["colbert_vecs"], strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-4)
    for found, expected in zip(answer.json["lexical_weights"], reference["lexical_weights"], strict=True):
        assert found == pytest.approx({token: float(weight) for token, weight in expected.items()}, abs=1e-4)
    dense = running.embedder.post("/embed", {"inputs": TEXTS[:3]})
    np.testing.assert_allclose(dense.json, reference["dense_vecs"][:3], atol=1e-4)


def test_the_reranker_scores_as_transformers_does(running):
    reference = Reference(running.folder / "models" / "bge-reranker-v2-m3", classifier=True)
    texts = TEXTS[:40]
    answer = running.reranker.post("/rerank", {"query": "which one?", "texts": texts, "raw_scores": True})
    expected = [float(reference.logits(("which one?", text), 128)[0]) for text in texts]
    assert {row["index"]: row["score"] for row in answer.json} == pytest.approx(dict(enumerate(expected)), abs=1e-5)
