"""TEI 1.9's behaviour, request by request: status, body, error text and headers."""

import math
from base64 import b64decode
from dataclasses import replace

import numpy as np
import pytest

from tests.services.engine import BUILTIN, serving

TEXT = "text/plain; charset=utf-8"
SENTENCE = "What is Deep Learning?"


def unit(vector):
    return math.isclose(float(np.linalg.norm(np.array(vector, dtype=np.float64))), 1.0, abs_tol=1e-5)


# Answers


def test_one_text_gives_one_vector_in_a_list(embedder):
    answer = embedder.post("/embed", {"inputs": SENTENCE})
    assert answer.status == 200
    assert [len(vector) for vector in answer.json] == [384]
    assert unit(answer.json[0])
    assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize("path", ["/", "/invocations"])
def test_the_main_route_of_an_embedder_embeds(embedder, path):
    assert embedder.post(path, {"inputs": SENTENCE}).json == embedder.post("/embed", {"inputs": SENTENCE}).json


@pytest.mark.parametrize("path", ["/", "/invocations"])
def test_the_main_route_of_a_reranker_reranks(reranker, path):
    body = {"query": "q", "texts": ["a", "b"]}
    assert reranker.post(path, body).json == reranker.post("/rerank", body).json


def test_a_batch_gives_its_vectors_in_order(embedder):
    texts = ["one", "two words", "a text of quite a few more words than the others have"]
    batch = np.array(embedder.post("/embed", {"inputs": texts}).json, dtype=np.float32)
    alone = np.array([embedder.post("/embed", {"inputs": text}).json[0] for text in texts], dtype=np.float32)
    np.testing.assert_allclose(batch, alone, atol=1e-5)


def test_token_ids_are_decoded_and_encoded_again(embedder):
    tokens = embedder.post("/tokenize", {"inputs": SENTENCE}).json[0]
    ids = [token["id"] for token in tokens]
    by_ids = embedder.post("/embed", {"inputs": ids})
    by_text = embedder.post("/embed", {"inputs": SENTENCE})
    np.testing.assert_allclose(by_ids.json, by_text.json, atol=1e-5)
    assert by_ids.headers["x-compute-characters"] == str(len(ids))


def test_without_normalize_the_length_is_the_models(embedder):
    raw = embedder.post("/embed", {"inputs": SENTENCE, "normalize": False}).json[0]
    normal = embedder.post("/embed", {"inputs": SENTENCE}).json[0]
    assert not unit(raw)
    np.testing.assert_allclose(np.array(raw) / np.linalg.norm(raw), normal, atol=1e-6)


def test_dimensions_cut_before_the_length_is_made_one(embedder):
    short = embedder.post("/embed", {"inputs": SENTENCE, "dimensions": 100}).json[0]
    full = np.array(embedder.post("/embed", {"inputs": SENTENCE}).json[0])[:100]
    assert len(short) == 100
    assert unit(short)
    np.testing.assert_allclose(short, full / np.linalg.norm(full), atol=1e-6)


def test_embed_all_gives_every_tokens_state(embedder):
    answer = embedder.post("/embed_all", {"inputs": ["one", "two words"]})
    tokens = [len(tokens) for tokens in embedder.post("/tokenize", {"inputs": ["one", "two words"]}).json]
    assert [np.array(states).shape for states in answer.json] == [(count, 384) for count in tokens]


def test_similarity_is_the_cosine(embedder):
    body = {"inputs": {"source_sentence": "a cat", "sentences": ["a kitten", "a tax form"]}}
    scores = embedder.post("/similarity", body).json
    vectors = np.array(embedder.post("/embed", {"inputs": ["a cat", "a kitten", "a tax form"]}).json)
    np.testing.assert_allclose(scores, vectors[1:] @ vectors[0], atol=1e-5)
    assert scores[0] > scores[1]


def test_truncation_keeps_the_side_that_was_asked_for(embedder):
    words = [f"word{number}" for number in range(400)]
    text = " ".join(words)
    right = embedder.post("/embed", {"inputs": text}).json[0]
    left = embedder.post("/embed", {"inputs": text, "truncation_direction": "left"}).json[0]
    front = embedder.post("/embed", {"inputs": " ".join(words[:200])}).json[0]
    back = embedder.post("/embed", {"inputs": " ".join(words[200:])}).json[0]
    assert np.dot(right, front) > np.dot(right, back)
    assert np.dot(left, back) > np.dot(left, front)
    answer = embedder.post("/embed", {"inputs": text})
    assert answer.headers["x-compute-tokens"] == "256"


def test_ranks_come_best_first_with_texts_when_asked(reranker):
    texts = ["Deep Learning is not...", "Deep learning is...", "the price of fish"]
    answer = reranker.post("/rerank", {"query": SENTENCE, "texts": texts, "return_text": True})
    scores = [rank["score"] for rank in answer.json]
    assert answer.status == 200
    assert scores == sorted(scores, reverse=True)
    assert {rank["index"]: rank["text"] for rank in answer.json} == dict(enumerate(texts))
    assert answer.json[-1]["index"] == 2
    assert all(0 <= score <= 1 for score in scores)


def test_raw_late_interaction_scores_are_cosines(reranker):
    body = {"query": SENTENCE, "texts": [SENTENCE, "fish"]}
    raw = {rank["index"]: rank["score"] for rank in reranker.post("/rerank", body | {"raw_scores": True}).json}
    scaled = {rank["index"]: rank["score"] for rank in reranker.post("/rerank", body).json}
    assert raw[0] == pytest.approx(1, abs=1e-4)
    assert {index: (score + 1) / 2 for index, score in raw.items()} == pytest.approx(scaled, abs=1e-6)


def test_equal_texts_score_equally_and_the_higher_index_comes_first(reranker):
    ranks = reranker.post("/rerank", {"query": "a", "texts": ["same", "same", "same"]}).json
    assert len({rank["score"] for rank in ranks}) == 1
    assert [rank["index"] for rank in ranks] == [2, 1, 0]


def test_openais_route_answers_in_openais_shape(embedder):
    answer = embedder.post("/v1/embeddings", {"input": [SENTENCE, "b"], "model": "anything", "user": "u"})
    native = embedder.post("/embed", {"inputs": [SENTENCE, "b"]})
    assert answer.json["object"] == "list"
    assert answer.json["model"] == "minilm"
    assert [row["index"] for row in answer.json["data"]] == [0, 1]
    np.testing.assert_allclose([row["embedding"] for row in answer.json["data"]], native.json, atol=1e-6)
    tokens = int(native.headers["x-compute-tokens"])
    assert answer.json["usage"] == {"prompt_tokens": tokens, "total_tokens": tokens}


def test_base64_is_little_endian_float32(embedder):
    packed = embedder.post("/embeddings", {"input": SENTENCE, "encoding_format": "base64"}).json["data"][0]
    vector = np.frombuffer(b64decode(packed["embedding"]), dtype="<f4")
    np.testing.assert_allclose(vector, embedder.post("/embed", {"inputs": SENTENCE}).json[0], atol=1e-6)


def test_tokenize_gives_byte_offsets_and_marks_special_tokens(embedder):
    text = "é deep"
    tokens = embedder.post("/tokenize", {"inputs": text}).json[0]
    assert [token["special"] for token in tokens] == [True, *[False] * (len(tokens) - 2), True]
    assert (tokens[0]["start"], tokens[0]["stop"]) == (None, None)
    for token in tokens[1:-1]:
        assert text.encode()[token["start"] : token["stop"]].decode() == token["text"]
    bare = embedder.post("/tokenize", {"inputs": text, "add_special_tokens": False}).json[0]
    assert [token["id"] for token in bare] == [token["id"] for token in tokens[1:-1]]


def test_a_batch_of_long_texts_is_tokenized_while_a_client_waits(embedder):
    """A former version copied a list for each token and took minutes."""
    answer = embedder.post("/tokenize", {"inputs": ["a " * 31_000] * 8})
    assert [len(tokens) for tokens in answer.json] == [31_002] * 8


def test_decode_turns_ids_back_into_text(embedder):
    ids = [token["id"] for token in embedder.post("/tokenize", {"inputs": "deep learning"}).json[0]]
    assert embedder.post("/decode", {"ids": ids}).json == ["deep learning"]
    assert embedder.post("/decode", {"ids": [ids], "skip_special_tokens": False}).json == ["[CLS] deep learning [SEP]"]


def test_info_has_teis_fields(embedder, reranker):
    info = embedder.get("/info").json
    assert info["model_type"] == {"embedding": {"pooling": "mean"}}
    assert info["version"].startswith("1.9")
    assert info["model_dtype"] == "float32"
    assert (info["max_input_length"], info["max_client_batch_size"], info["max_concurrent_requests"]) == (256, 128, 512)
    assert list(info)[:15] == [
        "model_id",
        "model_sha",
        "model_dtype",
        "served_model_name",
        "model_type",
        "max_concurrent_requests",
        "max_input_length",
        "max_batch_tokens",
        "max_batch_requests",
        "max_client_batch_size",
        "auto_truncate",
        "tokenization_workers",
        "version",
        "sha",
        "docker_label",
    ]
    assert reranker.get("/info").json["engine"]["scoring"] == "late_interaction"
    assert "late_interaction" in reranker.get("/info").json["model_type"]["reranker"]["label2id"]


@pytest.mark.parametrize("path", ["/health", "/ping", "/"])
def test_health_is_200_and_empty(embedder, path):
    answer = embedder.get(path)
    assert (answer.status, answer.body) == (200, b"")


def test_metrics_bear_teis_names(embedder):
    embedder.post("/embed", {"inputs": ["a", "b"]})
    text = embedder.get("/metrics").text
    assert 'te_request_count{method="batch"}' in text
    assert "te_embed_count " in text
    assert "te_request_duration_bucket" in text
    assert "te_batch_next_tokens_count" in text
    assert "te_queue_size 0" in text


def test_a_computed_reply_says_what_it_cost(embedder):
    headers = embedder.post("/embed", {"inputs": ["one", "two"]}).headers
    assert headers["x-compute-type"] == "gpu+optimized"
    assert headers["x-compute-characters"] == "6"
    assert headers["x-compute-tokens"] == "6"
    for name in ("x-compute-time", "x-total-time", "x-tokenization-time", "x-queue-time", "x-inference-time"):
        assert headers[name].isdecimal()


def test_every_reply_lets_any_origin_read_it(embedder):
    assert embedder.post("/embed", {"inputs": "x"}).headers["access-control-allow-origin"] == "*"
    assert embedder.get("/none").headers["access-control-allow-origin"] == "*"
    assert "POST" in embedder.request("OPTIONS", "/embed").headers["access-control-allow-methods"]


# Refusals: path, body, status, error type, text

VALIDATION = (422, "Validation")
REFUSED = [
    ("/embed", {"inputs": []}, 400, "Empty", "Input validation error: `inputs` cannot be empty"),
    ("/embed", {"inputs": ""}, 400, "Empty", "Input validation error: `inputs` cannot be empty"),
    ("/embed", {"inputs": ["a", ""]}, 400, "Empty", "Input validation error: `inputs` cannot be empty"),
    ("/embed", {"inputs": ["x"] * 129}, *VALIDATION, "batch size 129 > maximum allowed batch size 128"),
    ("/embed", {"inputs": ["x"] * 5000}, *VALIDATION, "batch size 5000 > maximum allowed batch size 128"),
    ("/embed", {"inputs": "x", "dimensions": 0}, *VALIDATION, "`dimensions` should be positive"),
    ("/embed", {"inputs": "x", "dimensions": 385}, *VALIDATION, "`dimensions` should be smaller than"),
    ("/embed", {"inputs": "x", "prompt_name": "query"}, *VALIDATION, "`default-prompt-name` is set to `query`"),
    (
        "/embed",
        {"inputs": "word " * 300, "truncate": False},
        *VALIDATION,
        "Input validation error: `inputs` must have less than 256 tokens. Given: 302",
    ),
    ("/embed_sparse", {"inputs": "x"}, 424, "Backend", "Model is not an embedding model with SPLADE pooling"),
    ("/rerank", {"query": "q", "texts": []}, 400, "Empty", "`texts` cannot be empty"),
    ("/rerank", {"query": "q", "texts": ["t"]}, 424, "Backend", "model is not a re-ranker model"),
    ("/predict", {"inputs": "x"}, 424, "Backend", "Model is not a classifier model"),
    (
        "/similarity",
        {"inputs": {"source_sentence": "s", "sentences": ["t"] * 128}},
        *VALIDATION,
        "batch size 129 > maximum allowed batch size 128",
    ),
    ("/tokenize", {"inputs": "x" * (250 * 256 + 1)}, *VALIDATION, "`inputs` must have less than 64000 characters"),
    ("/decode", {"ids": []}, 400, "Empty", "`input_ids` cannot be empty"),
]


@pytest.mark.parametrize(("path", "body", "status", "kind", "text"), REFUSED)
def test_a_refusal_has_teis_status_type_and_words(embedder, path, body, status, kind, text):
    answer = embedder.post(path, body)
    assert (answer.status, answer.json["error_type"]) == (status, kind)
    assert text in answer.json["error"]
    assert "x-compute-tokens" not in answer.headers


def test_openais_route_refuses_in_its_own_shape(embedder):
    answer = embedder.post("/v1/embeddings", {"input": []})
    assert answer.status == 400
    assert answer.json == {
        "message": "Input validation error: `inputs` cannot be empty",
        "code": 400,
        "type": "Empty",
    }


def test_a_reranker_does_not_embed(reranker):
    answer = reranker.post("/embed", {"inputs": "x"})
    assert (answer.status, answer.json["error_type"]) == (424, "Backend")
    assert "not an embedding model" in answer.json["error"]


@pytest.mark.parametrize(
    ("body", "content_type", "status", "text"),
    [
        (b'{"inputs": "x"}', None, 415, "Expected request with `Content-Type: application/json`"),
        (b'{"inputs": "x"}', "text/plain", 415, "Expected request with `Content-Type: application/json`"),
        (b'{"inputs": ', "application/json", 400, "Failed to parse the request body as JSON: "),
        (b'{"inputs": NaN}', "application/json", 400, "Failed to parse the request body as JSON: "),
        (b'{"inputs": "\xff\xfe"}', "application/json", 400, "Failed to parse the request body as JSON: "),
        (b'{"inputs": "\\ud83d"}', "application/json", 400, "Failed to parse the request body as JSON: "),
        (b'{"inputs": ' + b"[" * 90_000, "application/json", 400, "Failed to parse the request body as JSON: "),
        (b'{"inputs": {}}', "application/json", 422, "Failed to deserialize the JSON body into the target type: "),
        (b'{"text": "x"}', "application/json", 422, "Failed to deserialize the JSON body into the target type: "),
        (b"x" * 10_000_000, "application/json", 413, "Failed to buffer the request body: length limit exceeded"),
    ],
)
def test_what_the_framework_refuses_is_plain_text(embedder, body, content_type, status, text):
    answer = embedder.request("POST", "/embed", body, content_type)
    assert answer.status == status
    assert answer.text.startswith(text)
    assert answer.headers["content-type"] == TEXT
    assert embedder.post("/embed", {"inputs": "x"}).status == 200


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/embed", 405), ("POST", "/none", 404), ("PUT", "/", 405)]
)
def test_unknown_routes_and_methods_are_refused_without_a_body(embedder, method, path, status):
    answer = embedder.request(method, path)
    assert (answer.status, answer.body) == (status, b"")


def test_more_inputs_than_permits_are_429_with_retry_after():
    with serving(replace(BUILTIN, max_concurrent_requests=2)) as client:
        answer = client.post("/embed", {"inputs": ["a", "b", "c"]})
        assert (answer.status, answer.json) == (429, {"error": "Model is overloaded", "error_type": "Overloaded"})
        assert int(answer.headers["retry-after"]) >= 1
        assert client.post("/embed", {"inputs": ["a", "b"]}).status == 200


def test_without_auto_truncate_long_inputs_are_refused_unless_they_ask():
    with serving(replace(BUILTIN, auto_truncate=False)) as client:
        assert client.post("/embed", {"inputs": "word " * 300}).status == 422
        assert client.post("/embed", {"inputs": "word " * 300, "truncate": True}).status == 200


def test_the_default_prompt_is_put_before_every_text():
    with serving(replace(BUILTIN, default_prompt="query: ")) as client:
        prompted = client.post("/embed", {"inputs": SENTENCE}).json
    with serving(BUILTIN) as client:
        plain = client.post("/embed", {"inputs": "query: " + SENTENCE}).json
    np.testing.assert_allclose(prompted, plain, atol=1e-6)


@pytest.mark.parametrize(
    "text",
    [
        "\u0000",
        "\U0001f600" * 50,
        "á́́" * 200,
        "中文字符" * 100,
        "a" * 63_000,
        "a" * 100_000,
        "word " * 20_000,
        "".join(chr(0x10000 * plane + place) for plane in range(17) for place in (0x41, 0x1234, 0xFFFD)),
        "\u202e\u200b\ufeff",
        "[CLS] [SEP] [PAD] [MASK]",
        " ",
    ],
)
def test_odd_texts_still_give_a_unit_vector(embedder, text):
    answer = embedder.post("/embed", {"inputs": text})
    assert answer.status == 200
    assert unit(answer.json[0])
