"""The requests of a plan have their texts and their expected answers."""

import orjson

from bench.fake_tei.oracle import FakeOracle
from embedfleet.load.plan import planned
from embedfleet.load.workload import Arrival

ORACLE = FakeOracle()


def body_of(request):
    head, _, body = request.partition(b"\r\n\r\n")
    assert b"Content-Length: %d" % len(body) in head
    return orjson.loads(body)


def test_a_batch_goes_whole_or_split_and_every_call_has_its_expected_vectors():
    arrival = Arrival(7, 0.5, "bulk", tuple(range(10, 80)))
    (whole,) = planned([arrival], ORACLE, seed=2)
    (split,) = planned([arrival], ORACLE, seed=2, split=32)
    (call,) = whole.calls
    assert [len(c.expected) for c in split.calls] == [32, 32, 6]
    assert call.expected == [vector for c in split.calls for vector in c.expected]
    assert body_of(call.request)["inputs"] == [text for c in split.calls for text in body_of(c.request)["inputs"]]
    assert whole.tokens == split.tokens == sum(range(10, 80))


def test_one_text_is_sent_as_a_string_and_pairs_as_a_query_with_texts():
    query, ranked = planned([Arrival(0, 0.0, "online", (9,)), Arrival(1, 0.1, "rerank", (20, 30))], ORACLE, seed=1)
    assert isinstance(body_of(query.calls[0].request)["inputs"], str)
    assert set(body_of(ranked.calls[0].request)) == {"query", "texts"}
    assert sorted(rank["index"] for rank in ranked.calls[0].expected) == [0, 1]
