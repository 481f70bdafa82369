"""Quarantine: a request that kills replicas kills two, and no other request fails."""

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace

import orjson
import pytest

from bench.fake_tei.mortal import Mortal, mortal
from embedfleet.gateway.app import App
from embedfleet.http.client import fetch
from embedfleet.http.message import JSON
from embedfleet.types import Endpoint
from tests.services.gateway import LIMIT_S, SETTINGS, gateway, run

POISON = "a poisonous text"
OPEN = ("--poison", "poisonous")
BLANKS = ("--poison", "poisonous", "--no-special-tokens")


class Fleet:
    def __init__(self, app: App, replicas: list[Mortal]) -> None:
        self.app = app
        self.replicas = replicas

    async def post(self, path: str, value: object, headers=()):
        url = f"http://127.0.0.1:{self.app.server.port}{path}"
        body = value if isinstance(value, bytes) else orjson.dumps(value)
        return await fetch(url, method="POST", body=body, headers=[JSON, *headers], timeout_s=LIMIT_S)

    async def embed(self, inputs, headers=()):
        return await self.post("/embed", {"inputs": inputs}, headers)

    @property
    def deaths(self) -> int:
        return sum(replica.deaths for replica in self.replicas)

    @property
    def active(self) -> int:
        return sum(row["state"] == "active" for row in self.app.status())

    async def until(self, reached) -> None:
        async with asyncio.timeout(LIMIT_S):
            while not reached():
                await asyncio.sleep(0)


@asynccontextmanager
async def fleet(count: int, flags=OPEN, **settings):
    async with AsyncExitStack() as stack:
        replicas = [await stack.enter_async_context(mortal(*flags, back_s=0.01)) for _ in range(count)]
        endpoints = tuple(Endpoint(f"r{n}", f"http://127.0.0.1:{r.port}") for n, r in enumerate(replicas))
        app = App(replace(SETTINGS, replicas=endpoints, **settings))
        await app.server.start()
        app.proxy.start()
        running = Fleet(app, replicas)
        try:
            await running.until(lambda: running.active == count)
            yield running
        finally:
            await app.server.stop(0)
            app.proxy.stop()


@pytest.mark.parametrize("asked", [POISON, ["good", POISON, "better"]])
def test_a_request_kills_two_replicas_however_often_it_is_sent(asked):
    async def go():
        async with fleet(4) as f:
            for _ in range(20):
                reply = await f.embed(asked)
                assert reply.status == 424, reply
                assert b"two replicas died" in reply.body
                assert reply.headers["x-shed-reason"] == "quarantine"
            await f.until(lambda: f.deaths == 2)

    run(go)


@pytest.mark.parametrize(
    "ask",
    [
        lambda n: ("/", b'{"inputs":%b"a poisonous text"}' % (b" " * n)),
        lambda n: (("/", "/embed")[n % 2], b'{"inputs":"a poisonous text"}'),
        lambda n: ("/embed", b'{"inputs":"a poisonous text","x":%d}' % n),
        lambda n: ("/embed", b'{"inputs":"a poisonous text","normalize":%b}' % (b"true", b"false")[n % 2]),
    ],
    ids=["own route", "both routes", "a field that nobody knows", "what is made of the vector"],
)
def test_a_request_is_recognised_however_it_is_written(ask):
    async def go():
        async with fleet(4) as f:
            for n in range(8):
                reply = await f.post(*ask(n))
                assert (reply.status, reply.headers["x-shed-reason"]) == (424, "quarantine")
                await f.until(lambda: f.active == 4)
            assert f.deaths == 2

    run(go)


def test_a_body_that_is_nested_too_deep_to_be_written_again_is_isolated_too():
    async def go():
        async with fleet(3) as f:
            deep = b"[" * 300 + b"]" * 300
            replies = await asyncio.gather(
                f.post("/embed", b'{"inputs":"%b","x":%b}' % (POISON.encode(), deep)),
                f.post("/embed", b'{"inputs":"a good one","x":%b}' % deep),
                *(f.embed(f"text {n}") for n in range(20)),
            )
            assert [reply.status for reply in replies] == [424] + [200] * 21
            await f.until(lambda: f.deaths == 2)

    run(go)


def test_requests_beside_a_deadly_one_are_answered():
    async def go():
        async with fleet(4) as f:
            good = [f.embed(f"text {n}") for n in range(60)]
            batch = f.embed([f"document {n}" for n in range(60)], [(b"x-priority", b"bulk")])
            replies = await asyncio.gather(*good, f.embed(POISON), batch)
            assert [reply.status for reply in replies] == [200] * 60 + [424, 200]
            await f.until(lambda: f.deaths == 2)

    run(go)


def test_texts_that_shared_a_call_with_a_deadly_one_are_answered():
    async def go():
        async with fleet(3, coalesce=True) as f:
            replies = await asyncio.gather(*(f.embed(text) for text in ["a", "b", POISON, "c", "d"]))
            assert [reply.status for reply in replies] == [200, 200, 424, 200, 200]
            await f.until(lambda: f.deaths == 2)

    run(go)


def test_a_deadly_request_is_recorded_even_if_its_client_leaves_at_once():
    async def ask_and_leave(f):
        asked = asyncio.ensure_future(f.embed(POISON))
        await f.until(lambda: f.app.proxy.dispatcher.under_way or asked.done())
        asked.cancel()

    async def go():
        async with fleet(4) as f:
            dispatcher = f.app.proxy.dispatcher
            await ask_and_leave(f)
            await f.until(lambda: dispatcher.remembered)  # the death of a replica and its texts are recorded
            for _ in range(5):
                await ask_and_leave(f)
            await f.until(lambda: dispatcher.quarantine.convicted)
            assert (await f.embed(POISON)).status == 424
            await f.until(lambda: f.deaths == 2)

    run(go)


def test_two_replicas_are_never_dead_together():
    """The second of two replicas is not risked: the request waits until the first has come back."""

    async def go():
        async with fleet(2) as f:
            replies = await asyncio.gather(f.embed(POISON), *(f.embed(f"text {n}") for n in range(20)))
            assert [reply.status for reply in replies] == [424] + [200] * 20
            await f.until(lambda: f.deaths == 2)
            changes = sorted(change for replica in f.replicas for change in replica.history)
            serving = [sum(1 if is_serving else -1 for _, is_serving in changes[: n + 1]) for n in range(len(changes))]
            assert min(serving[1:]) == 1, "at least one replica serves at any time after both have started"

    run(go)


def test_a_killed_replica_fails_no_client_request():
    async def go():
        async with fleet(3) as f:

            async def ask(n):
                return await f.embed(f"text {n}")

            replies = []
            for round_ in range(3):
                asked = [asyncio.ensure_future(ask(f"{round_} {n}")) for n in range(40)]
                await f.until(lambda: f.app.proxy.dispatcher.under_way > 0)
                f.replicas[round_].kill()
                replies += await asyncio.gather(*asked)
                await f.until(lambda: f.active == 3)
            assert {reply.status for reply in replies} == {200}

    run(go)


@pytest.mark.parametrize(
    ("path", "name", "inputs"),
    [
        ("/embed", "inputs", [999_999]),
        ("/embed", "inputs", [[999_999], [97]]),
        ("/embed_all", "inputs", [[999_999, 888_888]]),
        ("/v1/embeddings", "input", [999_999]),
        ("/embed", "inputs", [[5]]),
        ("/embed", "inputs", [[], [999_999]]),
        ("/embed", "inputs", [[999_999] * 40_000]),
        ("/embed", "inputs", "  "),
        ("/embed", "inputs", "\x07"),
        ("/embed", "inputs", ["good", "\t"]),
        ("/v1/embeddings", "input", ["good", " \n"]),
        ("/similarity", "inputs", {"source_sentence": " ", "sentences": ["a"]}),
    ],
)
def test_an_input_without_a_token_is_refused_before_it_kills(path, name, inputs):
    async def go():
        async with fleet(2, BLANKS) as f:
            reply = await f.post(path, {name: inputs})
            assert reply.status in {400, 422}, reply
            assert b"token" in reply.body
            assert f.deaths == 0
            assert f.active == 2

    run(go)


@pytest.mark.parametrize("inputs", [[97, 98], [[97], [98, 999_999]], "  a", ["́e", "漢字", "🙂"]])
def test_an_input_with_tokens_is_answered(inputs):
    async def go():
        async with fleet(2, BLANKS) as f:
            for _ in range(3):
                assert (await f.embed(inputs)).status == 200

    run(go)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("/embed", {"inputs": " ", "prompt_name": [[1]]}),
        ("/embed", {"inputs": [97], "prompt_name": 7}),
        ("/", {"inputs": [97, 98]}),
    ],
)
def test_a_request_that_cannot_be_examined_is_sent_to_a_replica(path, value):
    async def go():
        async with fleet(2) as f:
            assert (await f.post(path, value)).status in {200, 422}
            assert f.deaths == 0

    run(go)


@pytest.mark.parametrize(("path", "value"), [("/", {"inputs": [999_999]}), ("/rerank", {"query": "", "texts": [" "]})])
def test_inputs_without_a_token_are_refused_on_other_routes_too(path, value):
    async def go():
        async with fleet(2, BLANKS) as f:
            assert (await f.post(path, value)).status in {400, 422}
            assert f.deaths == 0

    run(go)


@pytest.mark.parametrize("reply", [[1], [[1]], [{"a": 1}], [None], "hang"])
def test_a_replica_that_decodes_wrongly_or_not_at_all_delays_no_request(reply):
    async def go():
        async with gateway(2) as g:
            for replica in g.replicas:
                replica.decoded = reply
            timed = [JSON, (b"x-request-timeout-ms", b"50")]
            if reply == "hang":
                assert (await g.request("POST", "/embed", b'{"inputs":[5]}', timed)).status == 504
            answered = await g.request("POST", "/embed", b'{"inputs":[5]}', [JSON])
            assert answered.status == 200

    run(go)


@pytest.mark.parametrize("silent", [1, 2])
def test_a_replica_that_is_silent_about_tokens_is_not_asked_again_soon(silent):
    async def go():
        async with gateway(2) as g:
            for replica in g.replicas[:silent]:
                replica.decoded = "hang"
            ids = iter(range(1000, 2000))

            async def ask() -> int:
                return (await g.request("POST", "/embed", b'{"inputs":[%d]}' % next(ids), [JSON])).status

            assert await asyncio.gather(*(ask() for _ in range(40))) == [200] * 40
            asked = [replica.questions for replica in g.replicas[:silent]]
            assert max(asked) <= 8, "silent replicas did not occupy all places"
            assert await asyncio.gather(*(ask() for _ in range(40))) == [200] * 40
            assert [replica.questions for replica in g.replicas[:silent]] == asked
            assert all(replica.questions >= 40 for replica in g.replicas[silent:])

    run(go)


def test_a_deadly_text_is_found_in_batches_that_are_sent_again():
    """If an indexer sends the text again in other batches, only one more replica dies, with the text alone."""

    async def go():
        async with fleet(4) as f:
            for n in range(6):
                assert (await f.embed([POISON, f"good {n}"])).status == 424
                await f.until(lambda: f.active == 4)
            assert f.deaths == 3

    run(go)
