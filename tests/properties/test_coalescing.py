"""Coalesced requests ask for the same as each did alone, and requests that cannot be coalesced are recognised."""

import json

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedfleet.dialects.coalescing import can_coalesce, fingerprints, read_single, split_vectors, write_batch
from embedfleet.errors import Malformed

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
options = st.dictionaries(
    st.sampled_from(["normalize", "truncate", "prompt_name", "dimensions"]),
    st.booleans() | st.none() | st.integers(-9, 9) | texts,
)


@given(texts, options)
@settings(max_examples=40, deadline=None)
def test_a_text_and_its_options_are_read_as_they_were_sent(text, others):
    found = read_single(orjson.dumps({"inputs": text} | others))
    assert found is not None
    read, rest = found
    assert read == text
    assert (orjson.loads(rest) if rest else {}) == others


@given(texts, options, st.randoms(use_true_random=False))
@settings(max_examples=40, deadline=None)
def test_the_order_of_the_fields_keeps_no_two_requests_apart(text, others, chance):
    fields = list(({"inputs": text} | others).items())
    chance.shuffle(fields)
    shuffled = read_single(orjson.dumps(dict(fields)))
    assert shuffled == read_single(orjson.dumps({"inputs": text} | others))


@given(options, options)
@settings(max_examples=40, deadline=None)
def test_only_requests_with_the_same_options_are_alike(one, other):
    (_, left), (_, right) = (
        read_single(orjson.dumps({"inputs": "a"} | fields)) or ("", b"") for fields in (one, other)
    )
    assert (left == right) == (json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True))


@given(st.lists(texts, min_size=1, max_size=6), options)
@settings(max_examples=40, deadline=None)
def test_one_request_for_several_texts_has_them_in_order_and_their_options(together, others):
    _, rest = read_single(orjson.dumps({"inputs": "a"} | others)) or ("", b"")
    assert orjson.loads(write_batch(together, rest)) == {"inputs": together} | others


@pytest.mark.parametrize(
    "body",
    [
        b'{"inputs": ["a"]}',
        b'{"inputs": [1, 2]}',
        b'{"inputs": 1}',
        b'{"input": "a"}',
        b'["a"]',
        b'"a"',
        b'{"inputs": "a"',
        b'{"inputs": "a", "inputs": "b"}',
        b'{"inputs": "a", "normalize": true, "normalize": false}',
        b'{"inputs": "a", "\\u0069nputs": "b", "x": 1}',
        b'{"inputs": "a", "\\u0069nputs": "b"}',
        b"",
    ],
)
def test_everything_else_goes_to_a_replica_as_it_is(body):
    assert read_single(body) is None


@given(st.lists(texts, min_size=1, max_size=6), options)
@settings(max_examples=40, deadline=None)
def test_a_text_is_recognised_whatever_texts_it_is_sent_with(together, others):
    """So a text that killed a replica in a batch is recognised alone too, and no other text is."""
    _, rest = read_single(orjson.dumps({"inputs": "a"} | others)) or ("", b"")
    found = fingerprints(together, rest)
    assert found == [number for text in together for number in fingerprints([text], rest)]
    assert len(set(found)) == len(set(together))


@given(st.lists(st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=3), min_size=1, max_size=5), st.booleans())
@settings(max_examples=40, deadline=None)
def test_each_request_gets_its_own_vector(vectors, spaced):
    reply = json.dumps(vectors).encode() if spaced else orjson.dumps(vectors)
    assert [orjson.loads(bytes(part)) for part in split_vectors(len(vectors), reply)] == vectors
    for count in (len(vectors) - 1, len(vectors) + 1):
        with pytest.raises(Malformed, match=f"does not answer {count} texts"):
            split_vectors(count, reply)


@pytest.mark.parametrize(
    ("path", "content_type", "expected"),
    [
        ("/embed", b"application/json", True),
        ("/embed", b"application/json; charset=utf-8", True),
        ("/embed", b"text/plain", False),
        ("/embed", None, False),
        ("/rerank", b"application/json", False),
        ("/v1/embeddings", b"application/json", False),
    ],
)
def test_only_requests_for_vectors_are_coalesced(path, content_type, expected):
    assert can_coalesce(path, content_type) is expected
