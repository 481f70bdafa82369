"""Requests that are split over replicas get the same answers as from a single replica."""

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace

import orjson
import pytest

from embedfleet.gateway.app import App
from embedfleet.http.client import fetch
from embedfleet.http.message import JSON
from embedfleet.types import Endpoint
from tests.services.fake_tei import fake_tei
from tests.services.gateway import LIMIT_S, SETTINGS, gateway, run

TEXTS = [f"n={1 + number % 60}|t{number}|" for number in range(70)]
ODD = [*TEXTS[:40], 'a "quoted" ],[ one', "n=3|t1|", "ümläut 漢字 \n", "n=3|t1|", '{"index":0,"score":1}']
REQUESTS = [
    ("/embed", {"inputs": ODD}),
    ("/embed", {"inputs": [[n + 97, n + 98] for n in range(20)] * 2, "normalize": False}),
    ("/", {"inputs": ODD}),
    ("/embed_all", {"inputs": ODD}),
    ("/embed_sparse", {"inputs": ODD}),
    ("/rerank", {"query": "what?", "texts": ODD}),
    ("/rerank", {"query": "what?", "texts": ODD, "return_text": True, "raw_scores": True}),
    ("/predict", {"inputs": [[text] for text in ODD]}),
    ("/similarity", {"inputs": {"source_sentence": "n=2|s|", "sentences": ODD}}),
    ("/v1/embeddings", {"input": ODD, "model": "any"}),
    ("/v1/embeddings", {"input": ODD, "model": "any", "encoding_format": "base64"}),
]


class Behind:
    """A gateway over fake TEIs, and a further fake TEI that accepts any batch."""

    def __init__(self, app, replicas, alone):
        self.app = app
        self.replicas = replicas
        self.alone = alone

    async def post(self, path, value, headers=()):
        url = f"http://127.0.0.1:{self.app.server.port}{path}"
        body = value if isinstance(value, bytes) else orjson.dumps(value)
        return await fetch(url, method="POST", body=body, headers=[JSON, *headers], timeout_s=LIMIT_S)

    async def calls(self):
        return [await replica.told("/stats") for replica in self.replicas]


@asynccontextmanager
async def behind(count=3, client_batch=4, **settings):
    async with AsyncExitStack() as stack:
        replicas = [await stack.enter_async_context(fake_tei(client_batch=client_batch)) for _ in range(count)]
        alone = await stack.enter_async_context(fake_tei(client_batch=10_000))
        endpoints = tuple(Endpoint(f"r{n}", f"http://127.0.0.1:{r.replica.port}") for n, r in enumerate(replicas))
        app = App(replace(SETTINGS, replicas=endpoints, **settings))
        await app.server.start()
        app.proxy.start()
        try:
            await replicas[0].until(lambda: len(app.proxy.dispatcher.serving) == count)
            yield Behind(app, replicas, alone)
        finally:
            await app.server.stop(0)
            app.proxy.stop()


@pytest.mark.parametrize(("path", "value"), REQUESTS)
@pytest.mark.parametrize("by_length", [False, True])
def test_the_answer_equals_that_of_one_replica_byte_for_byte(path, value, by_length):
    async def go():
        dispatch = replace(SETTINGS.dispatch, sort_by_length=by_length)
        async with behind(dispatch=dispatch) as fleet:
            whole = await fleet.alone.post(path, value)
            assert whole.status == 200
            for priority in (b"online", b"bulk"):
                joined = await fleet.post(path, value, [(b"x-priority", priority)])
                assert joined.status == 200, joined.body
                assert joined.body == whole.body
                assert int(joined.headers["x-chunks"]) > 3
                assert joined.headers.get("x-compute-type") == whole.headers.get("x-compute-type")
                assert joined.headers["content-type"] == whole.headers["content-type"]
                if path != "/similarity":  # each part of it embeds the source sentence again
                    for name in ("x-compute-tokens", "x-compute-characters"):
                        assert joined.headers.get(name) == whole.headers.get(name), name
                assert joined.headers["x-request-id"]
            assert all(replica.replica.permits.taken == 0 for replica in fleet.replicas)

    run(go)


def test_several_batches_and_queries_at_once_get_their_own_answers():
    async def go():
        async with behind() as fleet:
            batches = [{"inputs": [f"n=5|b{batch}.{n}|" for n in range(30 + batch)]} for batch in range(8)]
            queries = [{"inputs": f"n=3|q{n}|"} for n in range(40)]
            values = [*batches, *queries]
            replies = await asyncio.gather(*(fleet.post("/embed", value) for value in values))
            expected = [await fleet.alone.post("/embed", value) for value in values]
            assert [reply.body for reply in replies] == [reply.body for reply in expected]

    run(go)


def test_without_splitting_a_request_goes_whole_and_the_replica_refuses_it():
    async def go():
        async with behind(dispatch=replace(SETTINGS.dispatch, split=False)) as fleet:
            reply = await fleet.post("/embed", {"inputs": TEXTS})
            assert reply.status == 422
            assert b"batch size 70 > maximum allowed batch size 4" in reply.body

    run(go)


def test_more_texts_than_the_gateway_takes_are_refused_with_both_numbers():
    async def go():
        async with behind(count=1, request_texts=69) as fleet:
            reply = await fleet.post("/embed", {"inputs": TEXTS})
            assert reply.status == 422
            assert orjson.loads(reply.body) == {
                "error": "batch size 70 > maximum allowed batch size 69",
                "error_type": "Validation",
            }

    run(go)


def test_a_text_that_no_replica_can_compute_is_named_in_the_error():
    async def go():
        async with gateway(2) as g:
            for replica in g.replicas:
                replica.poison = "poison"
            texts = [f"text {n}" for n in range(100)]
            texts[37] = "poison"
            reply = await g.embed(texts)
            assert reply.status == 424
            error = orjson.loads(reply.body)
            assert "37" in error["error"], error
            assert error["error_type"] == "Backend"
            assert set(g.states.values()) <= {"active", "ejected"}
            del texts[37]
            assert (await g.embed(texts)).status == 200

    run(go)


@pytest.mark.parametrize("mode", ["nulls", "short", "cut", "reset", "half", "garbage", 500, "redirect"])
def test_a_part_that_a_replica_answers_wrongly_is_sent_to_another(mode):
    async def go():
        async with gateway(2) as g:
            g.replicas[0].mode = mode
            reply = await g.embed([f"text {n}" for n in range(100)])
            assert reply.status == 200
            assert orjson.loads(reply.body) == [[1.0]] * 100
            assert g.replicas[0].seen, "it got a part"

    run(go)


@pytest.mark.parametrize("mode", ["nulls", "short", "cut"])
def test_a_wrong_answer_to_a_single_text_is_noticed_too(mode):
    async def go():
        async with gateway(2) as g:
            g.replicas[0].mode = mode
            replies = await asyncio.gather(*(g.embed(f"text {n}") for n in range(10)))
            assert {reply.body for reply in replies} == {b"[[1.0]]"}
            assert g.states["r0"] in {"ejected", "active"}

    run(go)


def test_replies_to_parts_are_joined_even_if_larger_than_hold_bytes():
    async def go():
        async with gateway(2, hold_bytes=1000) as g:
            for replica in g.replicas:
                replica.number = 0.1234567
                replica.dimensions = 500
            reply = await g.embed([f"text {n}" for n in range(100)])
            assert orjson.loads(reply.body) == [[0.1234567] * 500] * 100

    run(go)


def test_all_parts_of_a_client_that_leaves_are_cancelled():
    async def go():
        async with gateway(2) as g:
            for replica in g.replicas:
                replica.mode = "hold"
            leaving = asyncio.create_task(g.embed([f"text {n}" for n in range(500)]))
            await g.until(lambda: all(replica.held for replica in g.replicas))
            leaving.cancel()
            await g.until(lambda: g.app.proxy.dispatcher.under_way == 0)
            assert g.app.proxy.dispatcher.queued_tokens == 0
            await asyncio.wait_for(g.replicas[0].left.wait(), LIMIT_S)
            for replica in g.replicas:
                replica.mode = 200
            assert (await g.embed()).status == 200

    run(go)


def test_a_body_of_tiny_items_is_refused_and_nothing_is_sent():
    async def go():
        async with behind(count=1) as fleet:
            reply = await fleet.post("/embed", {"inputs": "a", "x": [[]] * 40_000})
            assert reply.status == 422
            assert b"over 32768 lists and objects" in reply.body

    run(go)
