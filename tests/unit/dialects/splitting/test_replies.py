"""The joined replies to the parts of a request equal the reply to the whole request."""

import json

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedfleet.dialects.request_texts import read_texts
from embedfleet.errors import Malformed
from tests.services.text_replica import JSON, PATHS, REQUESTS, answer, splits

BATCHES = st.sampled_from(PATHS).flatmap(lambda path: st.tuples(st.just(path), REQUESTS[path]))


def read(path, request):
    texts = read_texts(path, JSON, orjson.dumps(request))
    assert texts is not None
    return texts


@pytest.mark.parametrize("path", PATHS)
@settings(max_examples=40)
@given(data=st.data())
def test_the_joined_reply_is_the_reply_to_the_whole_request(path, data):
    request = data.draw(REQUESTS[path])
    texts = read(path, request)
    parts = [(items, answer(path, texts.body(items))) for items in data.draw(splits(texts.count))]
    for items, reply in parts:
        texts.check(len(items), reply)
    assert texts.join(parts) == answer(path, orjson.dumps(request))


@pytest.mark.parametrize("path", PATHS)
@settings(max_examples=40)
@given(data=st.data())
def test_replies_with_spaces_and_with_fields_in_another_order_are_joined_too(path, data):
    request = data.draw(REQUESTS[path])
    texts = read(path, request)

    def reworded(reply):
        value, style = orjson.loads(reply), data.draw(st.sampled_from(["spaces", "sorted", "newline", "as it was"]))
        if style == "as it was":
            return reply
        return reply + b"\n" if style == "newline" else json.dumps(value, sort_keys=style == "sorted").encode()

    parts = [(items, reworded(answer(path, texts.body(items)))) for items in data.draw(splits(texts.count))]
    for items, reply in parts:
        texts.check(len(items), reply)
    assert orjson.loads(texts.join(parts)) == orjson.loads(answer(path, orjson.dumps(request)))


@settings(max_examples=60)
@given(BATCHES)
def test_a_reply_to_another_number_of_texts_is_malformed(batch):
    path, request = batch
    texts, reply = read(path, request), answer(path, orjson.dumps(request))
    for count in (texts.count - 1, texts.count + 1):
        with pytest.raises(Malformed):
            texts.check(count, reply)
    with pytest.raises(Malformed):
        texts.join([([0], reply), (range(1, texts.count), reply)])


@settings(max_examples=60)
@given(BATCHES, st.data())
def test_a_truncated_reply_is_malformed(batch, data):
    path, request = batch
    texts, reply = read(path, request), answer(path, orjson.dumps(request))
    start = data.draw(st.integers(0, len(reply) - 1))
    for end in {*range(start, min(start + 20, len(reply))), len(reply) - 1}:
        with pytest.raises(Malformed):
            texts.check(texts.count, reply[:end])
        with pytest.raises(Malformed):
            texts.join([(range(texts.count), reply[:end])])


@settings(max_examples=60)
@given(BATCHES, st.booleans())
def test_a_null_or_nan_in_place_of_a_number_is_malformed(batch, spaces):
    path, request = batch
    texts, reply = read(path, request), answer(path, orjson.dumps(request), poison=True)
    if spaces:
        reply = json.dumps(orjson.loads(reply)).encode()
    for poisoned in (reply, reply.replace(b"null", b"NaN")):
        with pytest.raises(Malformed):
            texts.check(texts.count, poisoned)
        with pytest.raises(Malformed):
            texts.join([(range(texts.count), poisoned)])


@pytest.mark.parametrize("number", [b"null", b"NaN"])
@pytest.mark.parametrize(
    ("path", "request_", "reply"),
    [
        ("/embed", {"inputs": "a"}, b"[[0.5,0.25,#]]"),
        ("/embed_all", {"inputs": "a"}, b"[[[0.5,0.25],[#,1.0]]]"),
        ("/embed_sparse", {"inputs": "a"}, b'[[{"index":3,"value":#}]]'),
        ("/rerank", {"query": "q", "texts": ["a"]}, b'[{"index":0,"score":#}]'),
        ("/predict", {"inputs": "a"}, b'[{"score":0.5,"label":"x"},{"score":#,"label":"y"}]'),
        ("/predict", {"inputs": [["a"]]}, b'[[{"score":0.5,"label":"x"},{"score":#,"label":"y"}]]'),
        ("/similarity", {"inputs": {"source_sentence": "s", "sentences": ["a"]}}, b"[#]"),
        (
            "/v1/embeddings",
            {"input": "a"},
            b'{"object":"list","data":[{"object":"embedding","embedding":[0.5,#],"index":0}],"model":"m","usage":{}}',
        ),
    ],
)
def test_one_null_or_nan_is_enough(path, request_, reply, number):
    texts = read(path, request_)
    texts.check(1, reply.replace(b"#", b"1.0"))
    with pytest.raises(Malformed):
        texts.check(1, reply.replace(b"#", number))


@pytest.mark.parametrize(
    ("path", "request_", "replies"),
    [
        ("/embed", {"inputs": "a"}, [b"", b"{}", b"[]", b"[[]]", b"[1.0]", b"[[[1.0]]]", b'[["a"]]', b"[[true]]"]),
        ("/embed_all", {"inputs": "a"}, [b"[]", b"[1.0]", b"[[1.0]]", b"[[[]]]"]),
        ("/embed_sparse", {"inputs": "a"}, [b"[]", b"[[1.0]]", b"{}"]),
        ("/similarity", {"inputs": {"source_sentence": "s", "sentences": ["a"]}}, [b"[]", b"[[1.0]]", b"1.0", b"{}"]),
        ("/predict", {"inputs": "a"}, [b"[]", b"{}", b"[[]]", b'[[{"score":1.0,"label":"a"}]]']),
        ("/predict", {"inputs": [["a"]]}, [b"[]", b"[[]]", b'[{"score":1.0,"label":"a"}]']),
        (
            "/rerank",
            {"query": "q", "texts": ["a"]},
            [b"[]", b"{}", b"[1]", b'[{"index":0,"score":"1"}]', b'[{"index":0}]'],
        ),
        ("/v1/embeddings", {"input": "a"}, [b"[]", b"{}", b'{"data":[]}', b'{"data":[{"embedding":[1.0],"index":1}]}']),
    ],
)
def test_a_reply_of_another_shape_is_malformed(path, request_, replies):
    texts = read(path, request_)
    for reply in replies:
        with pytest.raises(Malformed):
            texts.check(texts.count, reply)


@pytest.mark.parametrize("vector", [b"", b"AAA", b"AADAfw==", b"AACA/w=="])
def test_base64_that_begins_with_no_number_is_malformed(vector):
    texts = read("/v1/embeddings", {"input": "a", "encoding_format": "base64"})
    for template in (
        b'{"object":"list","data":[{"object":"embedding","embedding":"%b","index":0}],"model":"m"}',
        b'{"model": "m", "data": [{"embedding": "%b", "index": 0}]}',
    ):
        texts.check(1, template % b"AACAPw==")
        with pytest.raises(Malformed):
            texts.check(1, template % vector)


def test_a_text_without_tokens_may_have_no_rows():
    texts = read("/embed_all", {"inputs": ["a", " ", "b"]})
    texts.check(3, b"[[[1.5]],[],[[2.5]]]")
    assert texts.join([([2, 1], b"[[[2.5]],[]]"), ([0], b"[[[1.5]]]")]) == b"[[[1.5]],[],[[2.5]]]"


def test_among_equal_scores_the_higher_index_comes_first_whatever_its_part():
    texts = read("/rerank", {"query": "q", "texts": ["a", "b", "c"]})
    parts = [([2], b'[{"index":0,"score":0.5}]'), ([0, 1], b'[{"index":1,"score":0.5},{"index":0,"score":0.5}]')]
    expected = b'[{"index":2,"score":0.5},{"index":1,"score":0.5},{"index":0,"score":0.5}]'
    assert texts.join(parts) == texts.join(parts[::-1]) == expected


@pytest.mark.parametrize("indices", [(0, 0), (1, 2), (-1, 0)])
def test_ranks_of_other_texts_are_not_joined(indices):
    texts = read("/rerank", {"query": "q", "texts": ["a", "b", "c"]})
    reply = b'[{"index":%d,"score":0.5},{"index":%d,"score":0.25}]' % indices
    for style in (reply, reply.replace(b",", b", ")):
        with pytest.raises(Malformed):
            texts.join([([0, 1], style), ([2], b'[{"index":0,"score":0.5}]')])


def test_a_text_that_is_ranked_twice_is_malformed():
    texts = read("/rerank", {"query": "q", "texts": ["a", "b"]})
    reply = b'[{"index":0,"score":0.5}]'
    with pytest.raises(Malformed):
        texts.join([([0], reply), ([1], reply[:-1] + b"," + reply[1:])])


@pytest.mark.parametrize("number", [b"null", b"NaN"])
def test_a_null_or_nan_among_scores_is_malformed(number):
    texts = read("/rerank", {"query": "q", "texts": ["a", "b"]})
    reply = b'[{"index":0,"score":%b},{"index":1,"score":0.5}]' % number
    with pytest.raises(Malformed):
        texts.check(2, reply)
    with pytest.raises(Malformed):
        texts.join([(range(2), reply)])


def test_an_empty_vector_among_others_is_malformed():
    texts = read("/embed", {"inputs": ["a", "b"]})
    with pytest.raises(Malformed):
        texts.check(2, b"[[1.5],[]]")


def test_a_reply_truncated_in_a_label_is_malformed():
    texts = read("/predict", {"inputs": [["a"]]})
    reply = orjson.dumps([[{"score": 0.5, "label": 'a"}]]b'}]])
    texts.check(1, reply)
    with pytest.raises(Malformed):
        texts.check(1, reply[: reply.rindex(b"b")])


@pytest.mark.parametrize("indices", [(0, 0), (1, 2), (-1, 0)])
def test_vectors_of_other_texts_are_malformed(indices):
    texts = read("/v1/embeddings", {"input": ["a", "b"]})
    with pytest.raises(Malformed):
        texts.check(2, VECTORS % indices)


def test_vectors_in_another_order_go_to_their_texts():
    texts = read("/v1/embeddings", {"input": ["a", "b"]})
    texts.check(2, VECTORS % (1, 0))
    data = orjson.loads(texts.join([([0, 1], VECTORS % (1, 0))]))["data"]
    assert [row["embedding"] for row in data] == [[2.5], [1.5]]
    assert [row["index"] for row in data] == [0, 1]


VECTORS = (
    b'{"object":"list","data":[{"object":"embedding","embedding":[1.5],"index":%d},'
    b'{"object":"embedding","embedding":[2.5],"index":%d}],"model":"m"}'
)


def test_fields_that_we_do_not_know_come_from_the_reply_with_the_first_text():
    texts = read("/v1/embeddings", {"input": ["a", "b"]})
    opening = b'{"object":"list","data":[{"object":"embedding","embedding":[1.5],"index":0}],"model":"m"'
    first = opening + b',"usage":{"prompt_tokens":1,"details":{"a":1}},"note":"first"}'
    second = opening + b',"usage":{"prompt_tokens":2,"details":{"a":2}},"note":"second"}'
    joined = orjson.loads(texts.join([([1], second), ([0], first)]))
    assert joined["usage"] == {"prompt_tokens": 3, "details": {"a": 1}}
    assert joined["note"] == "first"


def test_a_reply_without_usage_is_joined_without():
    texts = read("/v1/embeddings", {"input": ["a", "b"]})
    reply = b'{"object":"list","data":[{"object":"embedding","embedding":[1.5],"index":0}],"model":"m"}'
    assert "usage" not in orjson.loads(texts.join([([1], reply), ([0], reply)]))
