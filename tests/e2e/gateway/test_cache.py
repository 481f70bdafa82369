"""A gateway with a cache asks replicas only what it does not know, and each text once."""

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace

import orjson
import pytest

from tests.services.gateway import SETTINGS, gateway, run

MB = 1_000_000


@asynccontextmanager
async def caching(count=1, **changes):
    async with gateway(count, cache_bytes=MB, **changes) as g:
        for replica in g.replicas:
            replica.echo = True
        yield g


def seen(g):
    """The texts that replicas were asked for, in order."""
    return [orjson.loads(exchange.body)["inputs"] for replica in g.replicas for exchange in replica.seen]


async def figures(g):
    return orjson.loads((await g.request("GET", "/info")).body)["gateway"]["cache"]


def test_a_text_is_computed_once():
    async def go():
        async with caching() as g:
            first = await g.embed("a 1")
            again = await g.embed(["a 1"])
            assert first.body == again.body == b"[[1.0]]"
            assert "x-cached-texts" not in first.headers
            assert again.headers["x-cached-texts"] == "1"
            assert again.headers["x-compute-type"] == "cache"
            assert again.headers["x-compute-tokens"] == first.headers["x-compute-tokens"]
            assert again.headers["x-compute-characters"] == "3"
            assert seen(g) == ["a 1"]

    run(go)


def test_only_the_missing_texts_are_sent_and_the_reply_is_in_the_clients_order():
    async def go():
        async with caching() as g:
            g.replicas[0].tokens = b"7"
            await g.embed("b 2")
            reply = await g.embed(["a 1", "b 2", "c 3", "a 1", "b 2"])
            assert reply.body == b"[[1.0],[2.0],[3.0],[1.0],[2.0]]"
            assert seen(g) == ["b 2", ["a 1", "c 3"]]
            assert reply.headers["x-cached-texts"] == "2"

    run(go)


def test_the_tokens_of_a_reply_are_those_of_all_its_texts():
    async def go():
        async with caching() as g:
            g.replicas[0].tokens = b"10"
            await g.embed(["aaaa 1", "bbbb 2"])
            g.replicas[0].tokens = b"4"
            assert (await g.embed(["bbbb 2", "c 3"])).headers["x-compute-tokens"] == "9"
            assert (await g.embed(["aaaa 1", "bbbb 2"])).headers["x-compute-tokens"] == "10"

    run(go)


def test_without_a_size_nothing_is_kept_and_nothing_is_told():
    async def go():
        async with gateway(1) as g:
            for _ in range(2):
                await g.embed("a")
            assert len(g.replicas[0].seen) == 2
            assert "cache" not in orjson.loads((await g.request("GET", "/info")).body)["gateway"]

    run(go)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({}, {"headers": [(b"authorization", b"Bearer other")]}),
        ({"headers": [(b"authorization", b"Bearer one")]}, {}),
        ({}, {"headers": [(b"cache-control", b"no-cache")]}),
        ({"headers": [(b"cache-control", b"no-store")]}, {}),
    ],
)
def test_a_client_gets_no_answer_of_a_client_with_other_rights_and_may_ask_for_its_own(one, other):
    async def go():
        async with caching() as g:
            await g.embed("a 1", **one)
            await g.embed("a 1", **other)
            assert len(seen(g)) == 2

    run(go)


@pytest.mark.parametrize("fields", [[(b"set-cookie", b"a=1")], [(b"cache-control", b"private")]])
def test_a_reply_for_one_client_alone_is_not_kept(fields):
    async def go():
        async with gateway(1, cache_bytes=MB) as g:
            lines = b"".join(b"%b: %b\r\n" % field for field in fields)
            g.replicas[0].mode = b"HTTP/1.1 200 OK\r\n%bconnection: close\r\ncontent-length: 7\r\n\r\n[[0.5]]" % lines
            for _ in range(2):
                assert (await g.embed("a")).body == b"[[0.5]]"
            assert len(g.replicas[0].seen) == 2

    run(go)


def test_an_error_is_not_kept():
    async def go():
        async with caching() as g:
            g.replicas[0].mode = 422
            assert (await g.embed("a 1")).status == 422
            g.replicas[0].mode = 200
            assert (await g.embed("a 1")).body == b"[[1.0]]"

    run(go)


def test_an_error_about_a_part_is_asked_for_again_with_the_whole():
    async def go():
        async with caching() as g:
            await g.embed(["a 1", "b 2"])
            g.replicas[0].poison, g.replicas[0].poisoned = "poison", 413
            reply = await g.embed(["a 1", "poison", "b 2"])
            assert reply.status == 413
            assert seen(g)[1:] == [["poison"], ["a 1", "poison", "b 2"]]

    run(go)


def test_an_overload_is_told_without_another_try():
    async def go():
        async with caching() as g:
            await g.embed("a 1")
            g.replicas[0].mode = "hang"
            reply = await g.embed(["a 1", "b 2"], [(b"x-request-timeout-ms", b"300")])
            assert reply.status == 504
            assert len(seen(g)) == 2

    run(go)


# equal texts under way


def test_equal_texts_under_way_are_computed_once():
    async def go():
        async with caching(2) as g:
            for replica in g.replicas:
                replica.mode = "hold"
            asked = [asyncio.create_task(g.embed(inputs)) for inputs in ("a 1", "a 1", ["b 2", "a 1"])]
            await g.until(lambda: len(seen(g)) == 2)
            for replica in g.replicas:
                while replica.held:
                    replica.answer(replica.held.popleft())
            assert [reply.body for reply in await asyncio.gather(*asked)] == [b"[[1.0]]", b"[[1.0]]", b"[[2.0],[1.0]]"]
            assert sorted(map(str, seen(g))) == ["['b 2']", "a 1"]
            told = await figures(g)
            assert (told["hits"], told["joined"], told["misses"]) == (0, 2, 2)
            assert told["hit_rate"] == 0.5

    run(go)


def test_a_failed_computation_fails_no_other_request():
    async def go():
        async with caching(coalesce=False) as g:
            (replica,) = g.replicas
            replica.mode = "hold"
            asked = [asyncio.create_task(g.embed("a 1")) for _ in range(3)]
            await g.until(lambda: len(replica.held) == 1)
            await g.until(lambda: g.app.proxy.cache.context.joined == 2)
            replica.mode = 200
            replica.behave(replica.held.popleft(), 422)
            assert [reply.status for reply in await asyncio.gather(*asked)] == [422, 200, 200]
            assert len(seen(g)) == 3

    run(go)


def test_a_client_that_leaves_takes_its_computation_from_nobody():
    async def go():
        async with caching() as g:
            (replica,) = g.replicas
            replica.mode = "hold"
            owner = asyncio.create_task(g.embed("a 1"))
            await g.until(lambda: len(replica.held) == 1)
            other = asyncio.create_task(g.embed("a 1"))
            await g.until(lambda: g.app.proxy.cache.context.joined == 1)
            owner.cancel()
            await g.until(lambda: len(g.app.server.clients) == 1)
            replica.answer(replica.held.popleft())
            assert (await other).body == b"[[1.0]]"
            assert not replica.left.is_set()
            assert (await figures(g))["answers"] == 1

    run(go)


def test_the_last_client_that_leaves_ends_the_computation():
    async def go():
        async with caching() as g:
            (replica,) = g.replicas
            replica.mode = "hold"
            asked = [asyncio.create_task(g.embed("a 1")) for _ in range(2)]
            await g.until(lambda: len(replica.held) == 1 and g.app.proxy.cache.context.joined == 1)
            for one in asked:
                one.cancel()
            await replica.left.wait()
            assert not len(g.app.proxy.cache.context.under_way)
            replica.mode = 200
            assert (await g.embed("a 1")).body == b"[[1.0]]"
            metrics = (await g.request("GET", "/metrics")).body.decode()
            assert "\nembedfleet_client_gone_total 2\n" in metrics

    run(go)


def test_a_request_that_waits_for_another_has_its_own_deadline():
    async def go():
        async with caching() as g:
            (replica,) = g.replicas
            replica.mode = "hold"
            owner = asyncio.create_task(g.embed("a 1"))
            await g.until(lambda: len(replica.held) == 1)
            reply = await g.embed("a 1", [(b"x-request-timeout-ms", b"30"), (b"x-request-id", b"mine")])
            assert (reply.status, reply.headers["x-shed-reason"], reply.headers["x-request-id"]) == (
                504,
                "deadline",
                "mine",
            )
            assert b"not answered in 0.0 s, which is its deadline" in reply.body
            replica.answer(replica.held.popleft())
            assert (await owner).status == 200

    run(go)


def test_an_online_request_does_not_wait_for_bulk():
    async def go():
        async with caching(2, dispatch=replace(SETTINGS.dispatch, reserve=False)) as g:
            for replica in g.replicas:
                replica.mode = "hold"
            bulk = asyncio.create_task(g.embed("a 1", [(b"x-priority", b"bulk")]))
            await g.until(lambda: len(seen(g)) == 1)
            online = asyncio.create_task(g.embed("a 1"))
            await g.until(lambda: len(seen(g)) == 2)
            for replica in g.replicas:
                while replica.held:
                    replica.answer(replica.held.popleft())
            assert [(await one).body for one in (bulk, online)] == [b"[[1.0]]"] * 2

    run(go)


# the model


def test_another_model_empties_the_cache():
    async def go():
        async with caching() as g:
            (replica,) = g.replicas
            await g.embed("a 1")
            g.app.allow_new_model()
            replica.vector = [4.0, -3.0]
            port = replica.server.port
            await replica.kill()
            await replica.start(port)
            await g.until(lambda: replica.probes > 1 and "active" in g.states.values())
            await g.until(lambda: not len(g.app.proxy.cache.context.answers))
            await g.embed("a 1")
            assert seen(g) == ["a 1", "a 1"]

    run(go)


def test_a_fault_of_the_cache_costs_nobody_an_answer(caplog):
    async def go():
        async with caching(coalesce=False) as g:
            await g.embed("a 1")
            g.app.proxy.cache.context.loop = asyncio.AbstractEventLoop()  # which can set no deadline
            g.replicas[0].mode = "hold"
            asked = [asyncio.create_task(g.embed("b 2")) for _ in range(2)]
            await g.until(lambda: len(g.replicas[0].held) == 2)
            while g.replicas[0].held:
                g.replicas[0].answer(g.replicas[0].held.popleft())
            assert [(await one).body for one in asked] == [b"[[2.0]]"] * 2
            assert "the cache failed on a request" in caplog.text

    run(go)
