"""A reply to several texts comes apart into what each text alone would have got, and together again."""

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedfleet.dialects.request_texts import read_texts
from embedfleet.dialects.splitting.apportioning import apportioned
from embedfleet.errors import Malformed
from tests.services.text_replica import JSON, PATHS, REQUESTS, answer


def spaced(reply):
    """The same reply as a server writes it that puts blanks between the parts."""
    return orjson.dumps(orjson.loads(reply), option=orjson.OPT_INDENT_2)


@pytest.mark.parametrize("path", PATHS)
@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_the_replies_to_single_texts_make_the_reply_to_all(path, data):
    body = orjson.dumps(data.draw(REQUESTS[path]))
    texts = read_texts(path, JSON, body)
    costs = data.draw(st.lists(st.integers(1, 9), min_size=texts.count, max_size=texts.count))
    reply = answer(path, body)
    apart = texts.reply.separate(reply, costs)
    assert texts.join([((item,), one) for item, one in enumerate(apart)]) == reply
    loose = texts.reply.separate(spaced(reply), costs)
    joined = texts.join([((item,), one) for item, one in enumerate(loose)])
    assert orjson.loads(joined) == orjson.loads(reply)


@pytest.mark.parametrize("path", PATHS)
@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_each_of_them_is_what_the_text_alone_gets(path, data):
    body = orjson.dumps(data.draw(REQUESTS[path]))
    texts = read_texts(path, JSON, body)
    for item, one in enumerate(texts.reply.separate(answer(path, body), [1] * texts.count)):
        alone, mine = orjson.loads(answer(path, texts.body([item]))), orjson.loads(one)
        if isinstance(alone, dict) and "usage" in alone:  # known for all texts together only
            del alone["usage"], mine["usage"]
        assert mine == alone


@pytest.mark.parametrize("path", PATHS)
@given(data=st.data())
@settings(max_examples=10, deadline=None)
def test_a_reply_with_too_few_answers_is_refused(path, data):
    body = orjson.dumps(data.draw(REQUESTS[path]))
    texts = read_texts(path, JSON, body)
    with pytest.raises(Malformed):
        texts.reply.separate(answer(path, body), [1] * (texts.count + 1))


def test_the_usage_of_single_texts_adds_up():
    body = orjson.dumps({"input": ["a", "bb", "a long text of several words"]})
    texts = read_texts("/v1/embeddings", JSON, body)
    reply = answer("/v1/embeddings", body)
    usages = [orjson.loads(one)["usage"] for one in texts.reply.separate(reply, [1, 2, 30])]
    total = orjson.loads(reply)["usage"]["prompt_tokens"]
    assert [usage["prompt_tokens"] for usage in usages] == apportioned(total, [1, 2, 30])


def test_one_text_outside_of_a_list_keeps_its_reply():
    texts = read_texts("/predict", JSON, b'{"inputs":"a"}')
    reply = b'[{"score":0.5,"label":"x"}]'
    assert texts.reply.separate(reply, [1]) == [reply]
