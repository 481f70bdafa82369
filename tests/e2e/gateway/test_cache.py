"""A gateway with a cache answers as one without, and asks replicas only what it does not know."""

import asyncio
import http.client
import re
import signal
import subprocess
from contextlib import ExitStack, asynccontextmanager
from dataclasses import replace

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedfleet.types import Endpoint
from tests.services.fleet import COMMAND, free_ports
from tests.services.gateway import LIMIT_S, SETTINGS, gateway, in_a_thread, run
from tests.services.replica import FakeReplica
from tests.services.stand_in import stand_in

MB = 1_000_000
TEXTS = [f"n={1 + number % 60}|t{number}|" for number in range(6)] + ['a "quoted" ],[ one', "ümläut 漢字 \n"]


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
            g.replicas[0].mode = b"HTTP/1.1 200 OK\r\n%bcontent-length: 7\r\n\r\n[[0.5]]" % lines
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
        async with caching() as g:
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
        async with caching() as g:
            await g.embed("a 1")
            g.app.proxy.cache.context.loop = None  # so that no deadline can be set
            g.replicas[0].mode = "hold"
            asked = [asyncio.create_task(g.embed("b 2")) for _ in range(2)]
            await g.until(lambda: len(g.replicas[0].held) == 2)
            while g.replicas[0].held:
                g.replicas[0].answer(g.replicas[0].held.popleft())
            assert [(await one).body for one in asked] == [b"[[2.0]]"] * 2
            assert "the cache failed on a request" in caplog.text

    run(go)


# over a restart


async def restored(g):
    await g.until(lambda: bool(g.app.proxy.cache.context.answers))


def test_a_kept_cache_outlives_the_gateway(tmp_path):
    path = str(tmp_path / "answers" / "embedder")

    async def go():
        async with caching(cache_path=path) as g:
            g.app.keeper.start()
            first = await g.embed(["a 1", "b 2"])
            await g.app.keeper.stop()
        async with caching(cache_path=path) as g:
            g.app.keeper.start()
            await restored(g)
            again = await g.embed(["b 2", "a 1"])
            assert again.body == b"[[2.0],[1.0]]"
            assert again.headers["x-compute-tokens"] == first.headers["x-compute-tokens"]
            assert not g.replicas[0].seen
            await g.app.keeper.stop()

    run(go)


@pytest.mark.parametrize("is_other_model", [True, False])
def test_a_kept_cache_of_another_model_or_a_damaged_one_is_not_used(tmp_path, caplog, is_other_model):
    path = tmp_path / "embedder"

    async def go():
        async with caching(cache_path=str(path)) as g:
            await g.embed("a 1")
            await g.app.keeper.stop()
        if not is_other_model:
            path.write_bytes(path.read_bytes()[:-1])
        async with caching(0, cache_path=str(path)) as g:
            replica = await FakeReplica().start()
            replica.echo = True
            if is_other_model:
                replica.vector = [4.0, -3.0]
            g.app.keeper.start()
            g.app.proxy.set_members((replica.endpoint("r0"),))
            await g.until_active(1)
            await g.until(lambda: str(path) in caplog.text)
            assert (await g.embed("a 1")).body == b"[[1.0]]"
            assert len(replica.seen) == 1
            await g.app.keeper.stop()
            await replica.kill()

    run(go)


def test_a_gateway_that_ends_writes_its_cache(tmp_path):
    """The command itself, from its flags to SIGTERM."""
    file, (port,) = tmp_path / "answers", free_ports(1)
    with stand_in(None) as url:
        flags = ["--replica", url, "--host", "127.0.0.1", "--port", str(port), "--calibrate", "false"]
        kept = ["--gateway-cache-mb", "1", "--gateway-cache-keep", "true", "--cache-file", str(file)]
        for expected in (None, "1"):
            process = subprocess.Popen([*COMMAND, "gateway", *flags, *kept], stderr=subprocess.PIPE, text=True)
            try:
                wanted = "listening on" if expected is None else f"answers of {file}"
                while wanted not in process.stderr.readline():
                    assert process.poll() is None
                status, headers, _ = post(port, "/embed", {"inputs": "n=3|kept|"})
                assert (status, headers.get("x-cached-texts")) == (200, expected)
            finally:
                process.send_signal(signal.SIGTERM)
                process.communicate(timeout=LIMIT_S)
            assert process.returncode == 0


# conformance


def post(port, path, value):
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=LIMIT_S)
    client.request("POST", path, orjson.dumps(value), {"content-type": "application/json"})
    reply = client.getresponse()
    body = reply.read()
    client.close()
    return reply.status, {name.lower(): value for name, value in reply.getheaders()}, body


@pytest.fixture(scope="module")
def both():
    """The ports of a gateway without and of one with a cache, before the same replica."""
    with ExitStack() as stack:
        endpoint = Endpoint("r0", stack.enter_context(stand_in(None)))
        plain = stack.enter_context(in_a_thread(endpoint))
        yield plain, stack.enter_context(in_a_thread(endpoint, cache_bytes=MB))


SOME = st.lists(st.sampled_from(TEXTS), min_size=1, max_size=6)
LONE = st.sampled_from(TEXTS)
FLAGS = {
    "truncate": st.booleans(),
    "normalize": st.booleans(),
    "truncation_direction": st.sampled_from(["Left", "Right"]),
}


def asks(path, fields, optional=None):
    return st.tuples(st.just(path), st.fixed_dictionaries(fields, optional=optional or {}))


REQUESTS = st.one_of(
    asks("/embed", {"inputs": LONE | SOME}, FLAGS),
    asks("/embed", {"inputs": st.lists(st.sampled_from([[97, 98], [99], [100, 101, 102]]), min_size=1, max_size=3)}),
    asks("/embed", {"inputs": st.sampled_from(["", [], None, [""], 5])}),
    asks("/", {"inputs": SOME}),
    asks("/embed_all", {"inputs": SOME}),
    asks("/embed_sparse", {"inputs": LONE | SOME}),
    asks("/rerank", {"query": LONE, "texts": SOME}, {"return_text": st.booleans(), "raw_scores": st.booleans()}),
    asks("/predict", {"inputs": LONE | st.lists(st.lists(LONE, min_size=1, max_size=2), min_size=1, max_size=4)}),
    asks("/similarity", {"inputs": st.fixed_dictionaries({"source_sentence": LONE, "sentences": SOME})}),
    asks("/v1/embeddings", {"input": LONE | SOME}, {"encoding_format": st.sampled_from(["float", "base64", "hex"])}),
    asks("/embeddings", {"input": LONE | SOME}, {"encoding_format": st.just("base64"), "user": LONE}),
)


def without_usage(body):
    """The body of OpenAI's route up to its usage, which a replica states for all texts of a call together."""
    return body.partition(b'"usage"')[0]


@given(asked=st.lists(REQUESTS, min_size=1, max_size=6))
@settings(max_examples=60, deadline=None)
def test_the_bodies_are_those_of_a_gateway_without_a_cache(both, asked):
    plain, cached = both
    for path, value in asked:
        status, _, body = post(plain, path, value)
        for _ in range(2):
            told, _, again = post(cached, path, value)
            assert told == status
            if path.endswith("/embeddings") and status == 200:
                assert without_usage(again) == without_usage(body)
            else:
                assert again == body


def test_a_batch_that_comes_again_has_its_usage_and_so_has_a_lone_text(both):
    plain, cached = both
    texts = [f"n={number + 2}|usage {number}|" for number in range(5)]
    for value in ({"input": texts}, {"input": texts}, {"input": "n=9|lone|"}, {"input": ["n=9|lone|"]}):
        assert post(cached, "/v1/embeddings", value)[2] == post(plain, "/v1/embeddings", value)[2]


def test_the_metrics_have_the_hit_rate(both):
    _, cached = both
    for _ in range(2):
        post(cached, "/embed", {"inputs": "n=3|metrics|"})
    client = http.client.HTTPConnection("127.0.0.1", cached, timeout=LIMIT_S)
    client.request("GET", "/metrics")
    told = client.getresponse().read().decode()
    client.close()
    for result in ("hit", "miss"):
        (count,) = re.findall(rf'^embedfleet_cache_texts_total{{result="{result}"}} (\d+)$', told, re.MULTILINE)
        assert int(count) > 0
    assert re.search(r"^embedfleet_cache_bytes [1-9]", told, re.MULTILINE)
    assert re.search(r"^embedfleet_cache_answers [1-9]", told, re.MULTILINE)
