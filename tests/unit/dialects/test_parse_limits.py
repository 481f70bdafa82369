"""Bodies with too many items to be parsed are refused; long bodies with few items are not."""

import tracemalloc

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedfleet.dialects.json_body import read_object
from embedfleet.dialects.parse_limits import count_items, find_excess
from embedfleet.dialects.request_texts import read_texts
from embedfleet.errors import MalformedBody, Validation
from tests.services.text_replica import JSON

MOST = 4096
_TEXT = st.text(alphabet='[]{},"\\ab\n', max_size=8)
_VALUES = st.recursive(
    st.none() | st.integers(-9, 9) | _TEXT,
    lambda children: st.lists(children, max_size=4) | st.dictionaries(_TEXT, children, max_size=4),
    max_leaves=20,
)


def counted(value):
    """Count the lists and objects, the strings, and the commas of a value's JSON."""
    if isinstance(value, str):
        return 0, 1, 0
    if not isinstance(value, list | dict):
        return 0, 0, 0
    inner = [counted(one) for one in ([*value, *value.values()] if isinstance(value, dict) else value)]
    lists, strings, commas = (sum(column) for column in zip(*inner, strict=True)) if inner else (0, 0, 0)
    return lists + 1, strings, commas + max(0, len(value) - 1)


@given(_VALUES)
def test_items_are_counted_as_if_they_were_parsed(value):
    assert count_items(orjson.dumps(value), 1000) == counted(value)


def inputs(item: bytes, count: int) -> bytes:
    return b'{"inputs":[' + b",".join([item] * count) + b"]}"


TINY = {
    "lists": inputs(b"[1]", 200_000),
    "empty lists": inputs(b"[]", 200_000),
    "lists in lists": inputs(b"[[[[]]]]", 50_000),
    "objects": inputs(b"{}", 200_000),
    "pairs": inputs(b'["a"]', 200_000),
    "strings": inputs(b'"a"', 400_000),
    "keys": inputs(b'{"a":1}', 200_000),
    "numbers": inputs(b"1", 3_000_000),
    "nulls": inputs(b"null", 3_000_000),
    "beside the text": b'{"inputs":"a","x":[' + b",".join([b"[]"] * 200_000) + b"]}",
}


@pytest.mark.parametrize("body", TINY.values(), ids=TINY)
@pytest.mark.parametrize("path", ["/embed", "/rerank", "/predict", "/similarity", "/v1/embeddings"])
def test_a_body_of_tiny_items_is_refused_before_it_is_parsed(path, body):
    tracemalloc.start()
    try:
        with pytest.raises(Validation, match="send fewer"):
            read_texts(path, JSON, body, MOST)
        assert tracemalloc.get_traced_memory()[1] < 3 * len(body), "the body was parsed"
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "body",
    [
        inputs(orjson.dumps('{"a": [1, 2, "\\\\"], "b": {}}' * 2000), 40),
        inputs(orjson.dumps("word, word " * 20_000), 10),
        inputs(b"[" + b",".join([b"123456"] * 300) + b"]", MOST),
        inputs(b'["a","b"]', MOST),
        inputs(b'"a"', MOST),
    ],
    ids=["code", "prose", "ids", "pairs", "short texts"],
)
def test_many_long_texts_are_within_the_limits(body):
    assert find_excess(body, MOST) == ""


@pytest.mark.parametrize(
    ("path", "request_"),
    [
        ("/embed", {"inputs": ["a"] * 6}),
        ("/embed", {"inputs": [[1]] * 6}),
        ("/embed", {"inputs": [None] * 6}),
        ("/v1/embeddings", {"input": [[1]] * 6}),
        ("/predict", {"inputs": [["a"]] * 6}),
        ("/rerank", {"query": "", "texts": [""] * 6}),
        ("/similarity", {"inputs": {"source_sentence": "s", "sentences": ["a"] * 6}}),
    ],
)
def test_too_many_texts_are_refused_before_any_is_examined(path, request_):
    with pytest.raises(Validation, match="batch size 6 > maximum allowed batch size 5"):
        read_texts(path, JSON, orjson.dumps(request_), 5)


def test_many_ids_are_one_text():
    texts = read_texts("/embed", JSON, orjson.dumps({"inputs": list(range(100))}), 5)
    assert texts is not None
    assert texts.count == 1


@pytest.mark.parametrize("body", TINY.values(), ids=TINY)
def test_an_engine_does_not_parse_them_either(body):
    with pytest.raises(MalformedBody, match="it has over"):
        read_object(JSON, body)
