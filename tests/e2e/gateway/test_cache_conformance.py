"""A gateway with a cache answers as one without, and a kept cache outlives its gateway."""

import http.client
import re
import signal
import subprocess
from contextlib import ExitStack

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedfleet.types import Endpoint
from tests.e2e.gateway.test_cache import MB, caching
from tests.services.fleet import COMMAND, free_ports
from tests.services.gateway import LIMIT_S, in_a_thread, run
from tests.services.replica import FakeReplica
from tests.services.stand_in import stand_in

TEXTS = [f"n={1 + number % 60}|t{number}|" for number in range(6)] + ['a "quoted" ],[ one', "ümläut 漢字 \n"]


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
