"""The engine counts as TEI 1.9 does: each request, each input, and failures under TEI's names for their causes.

The rules are from TEI's source, core/src/infer.rs and router/src/http/server.rs. docs/engine.md lists the intended
differences.
"""

from dataclasses import replace

import pytest

from tests.services.engine import BUILTIN, serving
from tests.services.models import make_bert

STAGES = ("", "tokenization_", "queue_", "inference_")


def samples(client):
    """All metric series of the engine by full name."""
    lines = [line.rpartition(" ") for line in client.get("/metrics").text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in lines}


class Change:
    """The changes of a server's metrics during a block."""

    def __init__(self, client):
        self._client = client

    def __enter__(self):
        self._before = samples(self._client)
        return self

    def __exit__(self, *_):
        after = samples(self._client)
        self._change = {name: value - self._before.get(name, 0.0) for name, value in after.items()}

    def __getitem__(self, name):
        return self._change.get(name, 0.0)

    @property
    def failures(self):
        start = 'te_request_failure{err="'
        changed = {name[len(start) : -2]: int(value) for name, value in self._change.items() if name.startswith(start)}
        return {cause: count for cause, count in changed.items() if count}


EMBED = {
    "/embed": ({"inputs": ["a", "b", "c"]}, 3, "batch"),
    "/embed_all": ({"inputs": "a"}, 1, "single"),
    "/v1/embeddings": ({"input": ["a", "b"]}, 2, "batch"),
    "/similarity": ({"inputs": {"source_sentence": "a", "sentences": ["b", "c"]}}, 3, "batch"),
}


@pytest.mark.parametrize("path", EMBED)
def test_each_input_to_embed_is_counted_and_its_times_are(embedder, path):
    body, inputs, method = EMBED[path]
    with Change(embedder) as change:
        assert embedder.post(path, body).status == 200
    for name in ("te_embed_count", "te_embed_success", *(f"te_embed_{stage}duration_count" for stage in STAGES)):
        assert change[name] == inputs, name
    for stage in STAGES:
        assert change[f"te_request_{stage}duration_count"] == 1
    assert change[f'te_request_count{{method="{method}"}}'] == change[f'te_request_success{{method="{method}"}}'] == 1
    assert change["te_predict_count"] == change.failures.get("inference", 0) == 0


def test_the_times_of_inputs_add_up_to_those_of_requests(embedder):
    with Change(embedder) as change:
        assert embedder.post("/embed", {"inputs": ["one text", "another", "a third"]}).status == 200
    for stage in STAGES[1:]:
        of_request, of_inputs = change[f"te_request_{stage}duration_sum"], change[f"te_embed_{stage}duration_sum"]
        assert of_inputs == pytest.approx(3 * of_request)


def test_each_text_to_rerank_is_counted_and_the_query_is_not(reranker):
    with Change(reranker) as change:
        assert reranker.post("/rerank", {"query": "q", "texts": ["a", "b", ""]}).status == 200
    assert change["te_predict_count"] == change["te_predict_success"] == change["te_predict_duration_count"] == 3
    assert change["te_embed_count"] == 0


MANY = ["a"] * (BUILTIN.max_client_batch_size + 1)
COMPARED = {"inputs": {"source_sentence": "a", "sentences": MANY[1:]}}
ALONE = {"inputs": {"source_sentence": "a", "sentences": []}}
# Path, body, status, cause, and number of inputs that were counted before the failure.
FAILURES = {
    "too many": ("/embed", {"inputs": MANY}, 422, "batch_size", 0),
    "too many to compare": ("/similarity", COMPARED, 422, "batch_size", 0),
    "too many to tokenize": ("/tokenize", {"inputs": MANY}, 422, "batch_size", 0),
    "nothing": ("/embed", {"inputs": ["a", ""]}, 400, "tokenization", 2),
    "too long": ("/embed", {"inputs": "a " * 600, "truncate": False}, 422, "tokenization", 1),
    "foreign ids": ("/embed", {"inputs": [[1, 10**6], [5]]}, 422, "tokenization", 2),
    "no ids to decode": ("/decode", {"ids": [[]]}, 400, "tokenization", 0),
    "nothing to tokenize": ("/tokenize", {"inputs": ""}, 400, "tokenization", 0),
    "no such prompt": ("/embed", {"inputs": "a", "prompt_name": "x"}, 422, "tokenization", 0),
    "nothing to compare with": ("/similarity", ALONE, 400, "validation", 0),
    "no dimensions": ("/embed", {"inputs": "a", "dimensions": 0}, 422, "validation", 0),
    "no reranker": ("/rerank", {"query": "a", "texts": ["b"]}, 424, "model_type", 0),
    "no classifier": ("/predict", {"inputs": "a"}, 424, "model_type", 0),
    "no SPLADE": ("/embed_sparse", {"inputs": "a"}, 424, "model_type", 0),
    "no heads": ("/encode", {"inputs": "a", "return_sparse": True}, 424, "model_type", 0),
}


@pytest.mark.parametrize("name", FAILURES)
def test_a_failure_has_teis_name_for_its_cause(embedder, name):
    path, body, status, cause, counted = FAILURES[name]
    with Change(embedder) as change:
        assert embedder.post(path, body).status == status
    assert change.failures == {cause: 1}
    assert change["te_embed_count"] == counted
    assert change["te_embed_success"] == 0


def test_what_is_no_request_of_the_shape_is_no_failure(embedder):
    with Change(embedder) as change:
        assert embedder.post("/embed", {"inputs": {}}).status == 422
        assert embedder.request("POST", "/embed", b"{", "application/json").status == 400
    assert change.failures == {}


def test_inputs_that_find_no_room_are_overloaded_and_were_never_let_in():
    with serving(replace(BUILTIN, max_concurrent_requests=2)) as client, Change(client) as change:
        assert client.post("/embed", {"inputs": ["a", "b", "c"]}).status == 429
    assert change.failures == {"overloaded": 1}
    assert change["te_embed_count"] == 0
    assert change['te_request_count{method="batch"}'] == 1


def test_a_classifiers_inputs_are_predicted_and_an_embedding_of_it_is_of_the_wrong_model(tmp_path):
    settings = replace(BUILTIN, model=str(make_bert(tmp_path / "m", labels=3)))
    with serving(settings) as client, Change(client) as change:
        assert client.post("/predict", {"inputs": [["a"], ["b", "c"]]}).status == 200
        assert client.post("/predict", {"inputs": "a"}).status == 200
        assert client.post("/embed", {"inputs": "a"}).status == 424
    assert change["te_predict_count"] == change["te_predict_success"] == change["te_predict_duration_count"] == 3
    assert change['te_request_success{method="single"}'] == 1
    assert change.failures == {"model_type": 1}
