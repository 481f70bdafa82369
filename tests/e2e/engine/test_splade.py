"""A SPLADE model behind TEI's routes."""

import numpy as np
import pytest

from embedfleet.engine.settings import EngineSettings
from tests.services.engine import serving
from tests.services.models import make_bert

TEXTS = ["one", "two words", "a text of quite a few more words than the others have"]
VOCABULARY = 30522


@pytest.fixture(scope="module")
def splade(tmp_path_factory):
    folder = make_bert(tmp_path_factory.mktemp("splade") / "m")
    with serving(EngineSettings(model=str(folder), pooling="splade")) as client:
        yield client


def test_words_come_by_rising_index_and_without_zeros(splade):
    rows = splade.post("/embed_sparse", {"inputs": TEXTS}).json
    dense = np.array(splade.post("/embed", {"inputs": TEXTS, "normalize": False}).json, dtype=np.float32)
    assert dense.shape == (len(TEXTS), VOCABULARY)
    for row, weights in zip(rows, dense, strict=True):
        assert all(list(word) == ["index", "value"] for word in row)
        indices = [word["index"] for word in row]
        assert indices == np.flatnonzero(weights).tolist()
        assert 0 < len(indices) < VOCABULARY
        np.testing.assert_array_equal(np.array([word["value"] for word in row], np.float32), weights[indices])


def test_one_text_gives_one_list_in_a_list_and_says_what_it_cost(splade):
    answer = splade.post("/embed_sparse", {"inputs": "one"})
    assert len(answer.json) == 1
    assert answer.headers["x-compute-tokens"] == "3"


@pytest.mark.parametrize("path", ["/", "/invocations"])
def test_the_main_route_is_the_sparse_one(splade, path):
    assert splade.post(path, {"inputs": "one"}).json == splade.post("/embed_sparse", {"inputs": "one"}).json


def test_info_says_splade(splade):
    assert splade.get("/info").json["model_type"] == {"embedding": {"pooling": "splade"}}


@pytest.mark.parametrize(
    ("path", "body", "text"),
    [
        ("/embed", {"inputs": "x"}, "`normalize` is not available for SPLADE models"),
        ("/embed_all", {"inputs": "x"}, "`embed_all` is not available for SPLADE models"),
        ("/predict", {"inputs": "x"}, "Model is not a classifier model"),
        ("/rerank", {"query": "q", "texts": ["t"]}, "model is not a re-ranker model"),
    ],
)
def test_what_such_a_model_does_not_give_is_refused_in_teis_words(splade, path, body, text):
    answer = splade.post(path, body)
    assert (answer.status, answer.json["error_type"]) == (424, "Backend")
    assert text in answer.json["error"]
