"""The texts of a request: which bodies have some, what they cost, and the requests for some of them."""

import subprocess
import sys

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedfleet.dialects.error_reply import render_error
from embedfleet.dialects.json_body import read_object
from embedfleet.dialects.request_texts import read_texts
from embedfleet.dialects.serving import openai, tei
from embedfleet.errors import Backend, Empty, Overloaded, ServingError, Tokenizer, Validation, WrongShape
from tests.services.text_replica import IDS, JSON, PATHS, REQUESTS, TEXT, divisions


def read(path, request):
    texts = read_texts(path, JSON, orjson.dumps(request))
    assert texts is not None
    return texts


def four_a_token(characters):
    return characters // 4 + 1


@pytest.mark.parametrize("path", ["/", "/info", "/tokenize", "/decode", "/embed/", "/v1/models"])
def test_other_paths_take_no_texts(path):
    assert read_texts(path, JSON, b'{"inputs":["a","b"]}') is None


@pytest.mark.parametrize(
    ("content_type", "is_read"),
    [
        (b"application/json", True),
        (b"Application/JSON; charset=utf-8", True),
        (b"application/x+json", True),
        (b"text/plain", False),
        (b"", False),
        (None, False),
    ],
)
def test_a_body_that_a_replica_refuses_for_its_type_is_not_read(content_type, is_read):
    assert (read_texts("/embed", content_type, b'{"inputs":["a","b"]}') is not None) == is_read


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"a"', b'{"inputs":["a",]}', b'{"inputs":"\xff"}', b"{}", b"null"])
@pytest.mark.parametrize("path", PATHS)
def test_what_is_no_object_is_not_read(path, body):
    assert read_texts(path, JSON, body) is None


_VALUES = st.recursive(
    st.none() | st.integers(-1, 2**32) | st.floats(allow_nan=False) | st.just("a"),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.just("x"), children, max_size=1),
    max_leaves=6,
)


@settings(max_examples=300)
@given(_VALUES | st.lists(IDS | TEXT) | st.lists(st.lists(TEXT, max_size=3)))
def test_texts_are_read_just_where_the_engine_reads_them(value):
    for path, request, parse, name in (
        ("/embed", {"inputs": value}, tei.parse_embed, "inputs"),
        ("/embeddings", {"input": value}, openai.parse_embeddings, "inputs"),
        ("/predict", {"inputs": value}, tei.parse_predict, "inputs"),
        ("/rerank", {"query": "q", "texts": value}, tei.parse_rerank, "texts"),
        ("/rerank", {"query": value, "texts": ["a"]}, tei.parse_rerank, "texts"),
        ("/similarity", {"inputs": {"source_sentence": "s", "sentences": value}}, tei.parse_similarity, "sentences"),
        ("/similarity", {"inputs": {"source_sentence": value, "sentences": ["a"]}}, tei.parse_similarity, "sentences"),
        ("/similarity", {"inputs": value}, tei.parse_similarity, "sentences"),
    ):
        body = orjson.dumps(request)
        try:
            count = len(getattr(parse(read_object(JSON, body)), name))
        except (WrongShape, Empty):
            count = None
        texts = read_texts(path, JSON, body)
        assert (texts and texts.count) == count, path


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


def test_rerank_and_the_source_of_similarity_are_told():
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
def test_a_part_asks_for_its_texts_and_all_else_as_the_client_asked(path, data):
    request = data.draw(REQUESTS[path])
    texts = read(path, request)
    sizes = texts.sizes()
    for items in data.draw(divisions(texts.count)):
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
def test_one_text_is_asked_for_as_the_client_did(value):
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
def test_what_is_wrong_with_a_text_is_told_of_the_text(error: ServingError):
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
def test_what_is_wrong_with_the_request_or_the_model_is_left_as_it_is(error: ServingError):
    for path in ("/embed", "/v1/embeddings"):
        reply = failed(path, error)
        assert read(path, _TWO[path]).locate_error(0, reply) == reply


@pytest.mark.parametrize("reply", [b"", b"Failed to parse", b"[]", b"{}", b'{"error":1}', b'"tokenizer error x"'])
def test_what_is_not_in_teis_shape_is_left_as_it_is(reply):
    assert read("/embed", _TWO["/embed"]).locate_error(0, reply) == reply


def test_a_request_of_one_text_needs_no_place():
    reply = failed("/embed", Validation(TOO_LONG))
    assert read("/embed", {"inputs": "a"}).locate_error(0, reply) == reply
    assert read("/embed", {"inputs": ["a"]}).locate_error(0, reply) == reply


def test_the_gateway_reads_texts_without_numpy():
    modules = ", ".join(f"embedfleet.dialects.{name}" for name in ("coalescing", "error_reply", "request_texts"))
    program = f"import sys, {modules}; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


OWN = [
    ("/embed", {"inputs": ["a", "b"]}, "/embed"),
    ("/embed", {"inputs": [5, 6]}, "/embed"),
    ("/embed", {"inputs": {"source_sentence": "s", "sentences": ["a"]}}, "/similarity"),
    ("/embed_sparse", {"inputs": "a"}, "/embed_sparse"),
    ("/predict", {"inputs": [["a", "b"]]}, "/predict"),
    ("/rerank", {"query": "q", "texts": ["a"]}, "/rerank"),
    ("", {"query": "q", "texts": ["a"]}, "/rerank"),
    ("", {"inputs": {"source_sentence": "s", "sentences": ["a"]}}, "/similarity"),
]


@pytest.mark.parametrize("path", ["/", "/invocations"])
@pytest.mark.parametrize(("own_path", "request_", "route"), OWN)
def test_the_models_own_route_is_the_one_that_it_is_an_alias_of(path, own_path, request_, route):
    body = orjson.dumps(request_)
    own, other = read_texts(path, JSON, body, own_path=own_path), read_texts(route, JSON, body)
    assert own is not None
    assert other is not None
    assert (type(own), own.fingerprints()) == (type(other), other.fingerprints())


def test_a_text_on_the_own_route_of_an_unknown_model_is_not_guessed_at():
    assert read_texts("/", JSON, b'{"inputs":["a"]}') is None


@pytest.mark.parametrize(
    ("field", "is_another"),
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
def test_a_text_is_another_only_with_what_the_model_is_given_beside_it(field, is_another):
    plain, other = read("/embed", {"inputs": "a"}), read("/embed", {"inputs": "a"} | field)
    assert (plain.fingerprints() != other.fingerprints()) == is_another


def test_a_text_is_another_with_another_query_or_source():
    for path, one, two in (
        ("/rerank", {"query": "q", "texts": ["a"]}, {"query": "r", "texts": ["a"]}),
        (
            "/similarity",
            {"inputs": {"source_sentence": "q", "sentences": ["a"]}},
            {"inputs": {"source_sentence": "r", "sentences": ["a"]}},
        ),
    ):
        assert read(path, one).fingerprints() != read(path, two).fingerprints()


def test_a_text_is_the_same_by_itself_in_a_list_and_on_an_alias():
    alone, listed = read("/embed", {"inputs": "a"}), read("/embed", {"inputs": ["b", "a"]})
    assert alone.fingerprints() == listed.fingerprints()[1:]
    openai, alias = read("/v1/embeddings", {"input": "a"}), read("/embeddings", {"input": "a", "user": "me"})
    assert openai.fingerprints() == alias.fingerprints() != alone.fingerprints()
