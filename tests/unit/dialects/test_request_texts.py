"""The gateway finds texts in a body by route, content type and shape."""

import subprocess
import sys

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedfleet.dialects.json_body import read_object
from embedfleet.dialects.request_texts import read_texts
from embedfleet.dialects.serving import openai, tei
from embedfleet.errors import Empty, WrongShape
from tests.services.text_replica import IDS, JSON, PATHS, TEXT


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
def test_a_body_that_is_not_an_object_is_not_read(path, body):
    assert read_texts(path, JSON, body) is None


_VALUES = st.recursive(
    st.none() | st.integers(-1, 2**32) | st.floats(allow_nan=False) | st.just("a"),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.just("x"), children, max_size=1),
    max_leaves=6,
)


@settings(max_examples=300)
@given(_VALUES | st.lists(IDS | TEXT) | st.lists(st.lists(TEXT, max_size=3)))
def test_the_gateway_reads_the_same_texts_as_the_engine(value):
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
def test_the_models_own_route_reads_texts_like_the_aliased_route(path, own_path, request_, route):
    body = orjson.dumps(request_)
    own, other = read_texts(path, JSON, body, own_path=own_path), read_texts(route, JSON, body)
    assert own is not None
    assert other is not None
    assert (type(own), own.reply, own.fingerprints()) == (type(other), other.reply, other.fingerprints())


def test_a_text_on_the_own_route_of_an_unknown_model_is_not_read():
    assert read_texts("/", JSON, b'{"inputs":["a"]}') is None


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"inputs":["a","b"]}', False),
        (b'{"inputs":["a","b"],"inputs":["c","d"]}', True),
        (b'{"inputs":["a","b"],"\\u0069nputs":["c","d"]}', True),
        (b'{"inputs":["inputs","\\u00e9"],"truncate":true}', False),
        (b'{"inputs":["a","b"],"truncate":true,"truncat\\u0065":false}', True),
        (b'{"inputs":["a","b"],%b}' % b",".join(b'"x%d":1' % number for number in range(20)), True),
    ],
)
def test_a_field_that_may_occur_twice_is_noticed_in_any_spelling(body, expected):
    """A replica refuses such a body, so parts of it must not be answered."""
    texts = read_texts("/embed", JSON, body)
    assert texts is not None
    assert texts.repeats_a_key(body) is expected
