"""Odd requests: whatever comes, the answer is well formed, and the server goes on."""

import asyncio

import pytest

from bench.fuzz.mutation import Request
from bench.fuzz.run import fuzz, judge
from embedfleet.http.client import Reply


@pytest.mark.parametrize("server", ["engine", "gateway"])
@pytest.mark.parametrize("kind", ["embedding", "reranker", "classifier", "splade"])
def test_no_odd_request_is_answered_badly(address, kind, server):
    assert asyncio.run(fuzz(address(kind, server), 150, seed=1)) == []


def test_a_seed_makes_the_same_requests_again(address):
    url = address("embedding", "engine")
    sent: list[list[Request]] = []
    for _ in range(2):
        from random import Random

        from bench.fuzz.mutation import mutated

        good = Request("POST", "/embed", b'{"inputs":["a","b"]}', "application/json")
        sent.append([mutated(good, Random(f"7.{number}")) for number in range(50)])
    assert sent[0] == sent[1]
    assert len({request.body for request in sent[0]}) > 20
    assert asyncio.run(fuzz(url, 3, seed=7)) == []


@pytest.mark.parametrize(
    ("reply", "is_bad"),
    [
        (Reply(200, {"content-type": "application/json"}, b"[[1]]"), False),
        (Reply(422, {"content-type": "text/plain"}, b"no"), False),
        (Reply(200, {"content-type": "application/json"}, b"[[1"), True),
        (Reply(500, {}, b""), True),
        (Reply(302, {}, b""), True),
    ],
)
def test_what_a_bad_answer_is(reply, is_bad):
    assert bool(judge(reply)) is is_bad
