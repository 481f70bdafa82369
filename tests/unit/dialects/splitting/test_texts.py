"""The texts of a request: their cost, the requests for some of them, errors, and fingerprints."""

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedfleet.dialects.error_reply import render_error
from embedfleet.dialects.request_texts import read_texts
from embedfleet.errors import Backend, Empty, Overloaded, ServingError, Tokenizer, Validation
from tests.services.text_replica import JSON, PATHS, REQUESTS, splits


def read(path, request):
    texts = read_texts(path, JSON, orjson.dumps(request))
    assert texts is not None
    return texts


def four_a_token(characters):
    return characters // 4 + 1


@pytest.mark.parametrize(
    ("path", "request_", "count", "characters", "costs"),
    [
        ("/embed", {"inputs": "12345678"}, 1, 8, [3]),
        ("/embed", {"inputs": ["1234", "", "é😀"]}, 3, 6, [2, 1, 1]),
        ("/embed_all", {"inputs": [7, 8, 9]}, 1, 3, [3]),
        ("/embed_sparse", {"inputs": [[7, 8, 9], [], "12345678"]}, 3, 11, [3, 1, 3]),
        ("/embed", {"inputs": []}, 1, 0, [1]),
        ("/embeddings", {"input": ["1234", "1"]}, 2, 5, [2, 1]),
        ("/rerank", {"query": "1234", "texts": ["1234", "1"]}, 2, 13, [3, 2]),
        ("/predict", {"inputs": "1234"}, 1, 4, [2]),
        ("/predict", {"inputs": ["1234", "5678"]}, 1, 8, [3]),
        ("/predict", {"inputs": [["1234"], ["1234", "5678"]]}, 2, 12, [2, 3]),
        ("/similarity", {"inputs": {"source_sentence": "12345678", "sentences": ["1", "1234"]}}, 2, 13, [4, 2]),
    ],
)
def test_texts_are_counted_as_tei_counts_them(path, request_, count, characters, costs):
    texts = read(path, request_)
    assert (texts.count, texts.can_split) == (count, count > 1)
    assert texts.characters() == characters
    assert texts.costs(four_a_token) == costs


def test_rerank_and_the_source_of_similarity_are_known():
    told = {path: read(path, request) for path, request in _TWO.items()}
    assert [path for path, texts in told.items() if texts.is_rerank] == ["/rerank"]
    assert {path: texts.extra_inputs for path, texts in told.items() if texts.extra_inputs} == {"/similarity": 1}


_TWO = {
    "/embed": {"inputs": ["a", "b"]},
    "/rerank": {"query": "q", "texts": ["a", "b"]},
    "/predict": {"inputs": [["a"], ["b", "c"]]},
    "/similarity": {"inputs": {"source_sentence": "s", "sentences": ["a", "b"]}},
    "/v1/embeddings": {"input": ["a", "b"]},
}


@pytest.mark.parametrize("path", PATHS)
@settings(max_examples=40)
@given(data=st.data())
def test_a_part_has_its_texts_and_all_other_fields_of_the_request(path, data):
    request = data.draw(REQUESTS[path])
    texts = read(path, request)
    sizes = texts.sizes()
    for items in data.draw(splits(texts.count)):
        body = texts.body(items)
        part = orjson.loads(body)
        assert _texts(path, part) == [_texts(path, request)[item] for item in items]
        _texts(path, part)[:] = _texts(path, request)
        assert orjson.dumps(part) == orjson.dumps(request)
        assert len(body) <= texts.frame_size() + sum(sizes[item] for item in items) <= len(body) + 1


def _texts(path, request):
    if path == "/similarity":
        return request["inputs"]["sentences"]
    return request["texts" if path == "/rerank" else "input" if path in {"/v1/embeddings", "/embeddings"} else "inputs"]


@pytest.mark.parametrize("value", ["a", ["a"], [1, 2], [[1, 2]], []])
def test_a_single_text_is_sent_in_the_clients_form(value):
    assert orjson.loads(read("/embed", {"inputs": value, "x": 1}).body([0])) == {"inputs": value, "x": 1}


def failed(path, error):
    return render_error(path, error)[2]


TOO_LONG = "Input validation error: `inputs` must have less than 512 tokens. Given: 551"


@pytest.mark.parametrize(
    ("path", "key", "place"),
    [
        ("/embed", "error", "inputs[1]"),
        ("/rerank", "error", "texts[1]"),
        ("/predict", "error", "inputs[1]"),
        ("/similarity", "error", "inputs.sentences[1]"),
        ("/v1/embeddings", "message", "input[1]"),
    ],
)
def test_an_error_of_one_text_says_which_text_of_the_request_it_is(path, key, place):
    reply = failed(path, Validation(TOO_LONG))
    rebased = orjson.loads(read(path, _TWO[path]).locate_error(1, reply))
    assert rebased == {**orjson.loads(reply), key: f"{TOO_LONG} (in `{place}`)"}


@pytest.mark.parametrize(
    "error",
    [
        Validation("Input validation error: `inputs` must have less than 128000 characters. Given: 128001"),
        Empty("Input validation error: `inputs` cannot be empty"),
        Empty("`inputs` cannot be empty"),
        Tokenizer("tokenizer error something"),
        Backend("Backend error: CUDA_ERROR_OUT_OF_MEMORY"),
        Backend("Backend error: score is NaN"),
    ],
)
def test_an_error_about_a_text_names_the_text(error: ServingError):
    rebased = orjson.loads(read("/embed", _TWO["/embed"]).locate_error(0, failed("/embed", error)))
    assert rebased == {"error": f"{error} (in `inputs[0]`)", "error_type": error.error_type}


@pytest.mark.parametrize(
    "error",
    [
        Validation("batch size 33 > maximum allowed batch size 32"),
        Validation("`dimensions` should be positive"),
        Validation("Input validation error: `default-prompt-name` is set to `x` but it was not found"),
        Validation("`prompt_name` cannot be set with dual inputs"),
        Backend("Backend error: Model is not an embedding model"),
        Backend("Backend error: model is not a re-ranker model"),
        Backend("Backend error: `normalize` is not available for SPLADE models"),
        Backend("Backend error: the engine is stopping"),
        Overloaded(),
    ],
)
def test_an_error_about_the_request_or_the_model_is_unchanged(error: ServingError):
    for path in ("/embed", "/v1/embeddings"):
        reply = failed(path, error)
        assert read(path, _TWO[path]).locate_error(0, reply) == reply


@pytest.mark.parametrize("reply", [b"", b"Failed to parse", b"[]", b"{}", b'{"error":1}', b'"tokenizer error x"'])
def test_an_error_in_another_shape_is_unchanged(reply):
    assert read("/embed", _TWO["/embed"]).locate_error(0, reply) == reply


def test_a_request_of_one_text_needs_no_place():
    reply = failed("/embed", Validation(TOO_LONG))
    assert read("/embed", {"inputs": "a"}).locate_error(0, reply) == reply
    assert read("/embed", {"inputs": ["a"]}).locate_error(0, reply) == reply


@pytest.mark.parametrize(
    ("field", "is_different"),
    [
        ({"truncate": True}, True),
        ({"prompt_name": "query"}, True),
        ({"truncation_direction": "Left"}, True),
        ({"truncate": None}, False),
        ({"normalize": False}, False),
        ({"dimensions": 8}, False),
        ({"zz": 1}, False),
    ],
)
def test_a_fingerprint_depends_only_on_the_models_input(field, is_different):
    plain, other = read("/embed", {"inputs": "a"}), read("/embed", {"inputs": "a"} | field)
    assert (plain.fingerprints() != other.fingerprints()) == is_different


def test_a_fingerprint_depends_on_the_query_and_the_source():
    for path, one, two in (
        ("/rerank", {"query": "q", "texts": ["a"]}, {"query": "r", "texts": ["a"]}),
        (
            "/similarity",
            {"inputs": {"source_sentence": "q", "sentences": ["a"]}},
            {"inputs": {"source_sentence": "r", "sentences": ["a"]}},
        ),
    ):
        assert read(path, one).fingerprints() != read(path, two).fingerprints()


def test_a_fingerprint_is_the_same_alone_in_a_list_and_on_an_alias():
    alone, listed = read("/embed", {"inputs": "a"}), read("/embed", {"inputs": ["b", "a"]})
    assert alone.fingerprints() == listed.fingerprints()[1:]
    openai, alias = read("/v1/embeddings", {"input": "a"}), read("/embeddings", {"input": "a", "user": "me"})
    assert openai.fingerprints() == alias.fingerprints() != alone.fingerprints()
