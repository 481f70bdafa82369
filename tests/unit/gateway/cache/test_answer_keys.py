"""Two texts have one key only if a replica would give them one answer, and one client's key is no other's."""

import orjson
import pytest

from embedfleet.dialects.coalescing import read_single
from embedfleet.dialects.request_texts import read_texts
from embedfleet.gateway.cache.answer_keys import BYPASS, AnswerKeys, scope_of

JSON = b"application/json"
KEYS = AnswerKeys(b"s" * 32)


def keys_of(value, path="/embed", scope=b"", keys=KEYS):
    return keys.of(scope, read_texts(path, JSON, orjson.dumps(value)))


SAME = [
    ({"inputs": "a", "truncate": True, "normalize": False}, {"normalize": False, "truncate": True, "inputs": "a"}),
    ({"inputs": "a"}, {"inputs": ["a"]}),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_the_order_of_the_fields_and_the_list_around_a_text_do_not_count(one, other):
    assert keys_of(one) == keys_of(other)


def test_a_text_has_one_key_whatever_it_comes_with():
    assert keys_of({"inputs": ["b", "a"]})[1:] == keys_of({"inputs": ["a", "c"]})[:1]


def test_the_user_of_openais_route_does_not_count_but_its_options_do():
    path = "/v1/embeddings"
    plain = keys_of({"input": "a", "model": "m"}, path)
    assert plain == keys_of({"input": "a", "model": "m", "user": "u"}, path)
    assert plain == keys_of({"input": "a", "model": "m"}, "/embeddings")
    for other in ({"encoding_format": "base64"}, {"dimensions": 8}, {"model": "n"}, {"unknown": 1}):
        assert plain != keys_of({"input": "a", "model": "m", **other}, path)


DIFFERENT = [
    ("/embed", {"inputs": "a"}),
    ("/embed", {"inputs": "b"}),
    ("/embed", {"inputs": [[97]]}),
    ("/embed", {"inputs": "a", "normalize": False}),
    ("/embed", {"inputs": "a", "truncate": True}),
    ("/embed", {"inputs": "a", "truncation_direction": "Left"}),
    ("/embed", {"inputs": "a", "prompt_name": "query"}),
    ("/embed", {"inputs": "a", "dimensions": 2}),
    ("/embed_sparse", {"inputs": "a"}),
    ("/v1/embeddings", {"input": "a"}),
    ("/v1/embeddings", {"input": "a", "encoding_format": "base64"}),
    ("/rerank", {"query": "q", "texts": ["a"]}),
    ("/rerank", {"query": "r", "texts": ["a"]}),
    ("/rerank", {"query": "q", "texts": ["a"], "raw_scores": True}),
    ("/rerank", {"query": "q", "texts": ["a"], "return_text": True}),
    ("/predict", {"inputs": "a"}),
    ("/predict", {"inputs": [["a"], ["a", "b"]]}),
    ("/predict", {"inputs": "a", "raw_scores": True}),
    ("/similarity", {"inputs": {"source_sentence": "s", "sentences": ["a"]}}),
    ("/similarity", {"inputs": {"source_sentence": "t", "sentences": ["a"]}}),
    ("/encode", {"inputs": "a", "return_sparse": True}),
]


def test_everything_that_may_change_an_answer_counts():
    found = [key for path, value in DIFFERENT for key in keys_of(value, path)]
    assert len(set(found)) == len(found)


@pytest.mark.parametrize("others", [{}, {"truncate": True, "normalize": False}, {"prompt_name": "q", "x": [1]}])
def test_a_lone_text_has_the_same_key_the_short_way(others):
    for text in ("a", "ü 漢", 'a "quote"'):
        body = {**others, "inputs": text}
        for _ in range(2):
            assert [KEYS.of_lone(b"s", *read_single(orjson.dumps(body)))] == keys_of(body, scope=b"s")


def test_another_model_and_another_scope_have_other_keys():
    value = {"inputs": "a"}
    found = {*keys_of(value), *keys_of(value, keys=AnswerKeys(b"t" * 32)), *keys_of(value, scope=b"x")}
    assert len(found) == 3


def test_frames_are_not_remembered_without_a_bound():
    for number in range(3000):
        assert keys_of({"inputs": "a", "x": number}) == keys_of({"inputs": "a", "x": number})
    assert len(KEYS._frames) <= 1024


def scope(*headers, target=b"/embed"):
    return scope_of(target, list(headers))


def test_who_is_allowed_to_ask_counts_and_with_which_tool_does_not():
    plain = scope()
    assert plain == scope((b"user-agent", b"curl"), (b"x-request-id", b"1"), (b"x-forwarded-for", b"::1"))
    assert plain == scope(target=b"/")
    for header in ((b"authorization", b"Bearer a"), (b"cookie", b"a=1"), (b"x-api-key", b"k"), (b"unheard-of", b"1")):
        assert plain != scope(header) != scope((header[0], header[1] + b"2"))
    assert plain != scope(target=b"/embed?key=1")
    assert scope((b"a", b"1"), (b"b", b"2")) == scope((b"b", b"2"), (b"a", b"1"))


@pytest.mark.parametrize("value", [b"no-cache", b"max-age=0, No-Store"])
def test_a_client_may_ask_for_a_computation_of_its_own(value):
    assert scope((b"cache-control", value)) == BYPASS
    assert scope((b"cache-control", b"max-age=1")) != BYPASS
