"""The fake replica breaks TEI's promises as ordered, and dies of poison."""

import asyncio

import orjson
import pytest

from bench.fake_tei.model import FakeModel
from bench.fake_tei.mortal import mortal
from bench.fake_tei.oracle import text_of, vector_of
from embedfleet.errors import Refused, Reset
from embedfleet.http.client import fetch
from embedfleet.http.message import JSON
from tests.services.fake_tei import fake_tei
from tests.services.http import run

TEXTS = [text_of(f"a.{number}", tokens) for number, tokens in enumerate((60, 30, 20, 5, 100))]
VECTORS = [vector_of(text) for text in TEXTS]


def test_a_stall_ends_by_itself():
    async def test():
        async with fake_tei() as fake:
            await fake.order(kind="stall", seconds=0.05)
            assert await fake.embed(TEXTS) == VECTORS

    run(test)


def test_a_slow_device_takes_longer_by_its_own_account():
    async def test():
        async with fake_tei() as fake:
            await fake.embed(TEXTS[0])
            before = fake.replica.device.busy_s
            await fake.order(kind="slow", factor=4)
            await fake.embed(TEXTS[0])
            assert fake.replica.device.busy_s - before == pytest.approx(4 * before)

    run(test)


@pytest.mark.parametrize("status", [429, 500, 424])
def test_the_next_answers_are_errors_and_then_right_again(status):
    async def test():
        async with fake_tei() as fake:
            assert (await fake.order(kind="answer", answer=str(status), count=2)).status == 204
            statuses = [(await fake.post("/embed", {"inputs": TEXTS})).status for _ in range(3)]
            assert statuses == [status, status, 200]
            assert fake.replica.permits.taken == 0

    run(test)


def test_wrong_answers_are_200_and_wrong():
    async def test():
        async with fake_tei() as fake:
            await fake.order(kind="answer", answer="garbage", count=1)
            reply = await fake.post("/embed", {"inputs": TEXTS})
            assert reply.status == 200
            with pytest.raises(orjson.JSONDecodeError):
                orjson.loads(reply.body)
            await fake.order(kind="answer", answer="short", count=1)
            assert await fake.embed(TEXTS) == VECTORS[:-1]
            await fake.order(kind="answer", answer="nulls", count=2)
            assert await fake.embed(TEXTS[0]) == [[None] * 8]
            ranks = orjson.loads((await fake.post("/rerank", {"query": "q", "texts": TEXTS})).body)
            assert [rank["score"] for rank in ranks] == [None] * 5
            assert await fake.embed(TEXTS) == VECTORS

    run(test)


def test_a_crash_resets_what_is_under_way_and_refuses_until_it_is_back():
    async def test():
        async with fake_tei() as fake:
            await fake.order(kind="hang")
            held = fake.begin(TEXTS)
            await fake.until_taken(5)
            await fake.order(kind="crash")
            with pytest.raises(Reset):
                await held
            with pytest.raises(Refused):
                await fake.get("/health")
            await fake.order(kind="heal")
            await fake.until(lambda: fake.replica.listening)
            assert await fake.embed(TEXTS) == VECTORS
            assert [name for name, _, _ in await fake.told("/log")] == [f"a.{n}" for n in range(5)]  # the lost are lost

    run(test)


def test_who_refuses_finishes_what_it_has():
    async def test():
        async with fake_tei() as fake:
            await fake.order(kind="hang")
            held = fake.begin(TEXTS)
            await fake.until_taken(5)
            await fake.order(kind="refuse", seconds=0)
            with pytest.raises(Refused):
                await fake.get("/health")
            fake.replica.device.release()
            assert orjson.loads((await held).body) == VECTORS

    run(test)


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "explode"},
        {"kind": "answer", "answer": "418"},
        {"kind": "slow", "factor": 0},
        {"kind": "stall", "second": 1},
        {"kind": "hang", "replica": 7},
    ],
)
def test_an_order_that_is_none_is_refused_and_changes_nothing(fault):
    async def test():
        async with fake_tei() as fake:
            assert (await fake.order(**fault)).status == 422
            assert await fake.embed(TEXTS) == VECTORS

    run(test)


def test_the_log_is_forgotten_when_told():
    async def test():
        async with fake_tei() as fake:
            await fake.embed(TEXTS)
            assert len(await fake.told("/log")) == 5
            fake.replica.reset_stats()
            assert await fake.told("/log") == []
            assert (await fake.told("/stats"))[0]["counts"] == {}

    run(test)


@pytest.mark.parametrize(
    ("path", "body", "model"),
    [
        ("/embed", {"inputs": [999_999]}, {}),
        ("/embed", {"inputs": [[97], [999_999]]}, {}),
        ("/embed", {"inputs": [7]}, {}),  # in the vocabulary, and no text all the same
        ("/v1/embeddings", {"input": [999_999]}, {}),
        ("/embed", {"inputs": "  "}, {"adds_special": False}),
        ("/embed", {"inputs": ["a", "\x07"]}, {"adds_special": False}),
        ("/embed", {"inputs": "a poison-3 b"}, {"poison": "poison-3"}),
        ("/rerank", {"query": "poison-3", "texts": ["a"]}, {"poison": "poison-3"}),
    ],
)
def test_a_sequence_of_no_tokens_and_poison_end_a_replica_and_all_that_is_under_way(path, body, model):
    async def test():
        async with fake_tei(fake=FakeModel(**model)) as fake:
            await fake.order(kind="hang")
            running = fake.begin(text_of("runs", 90))
            await fake.until_taken(1)
            deadly, waiting = asyncio.ensure_future(fake.post(path, body)), fake.begin(text_of("waits", 90))
            await fake.until(lambda: fake.replica.permits.taken >= 3)
            await fake.order(kind="heal")
            replies = await asyncio.gather(running, deadly, waiting, return_exceptions=True)
            assert replies[0].status == 200  # of the batch before
            assert [type(reply) for reply in replies[1:]] == [Reset, Reset]
            assert (fake.replica.deaths, fake.replica.permits.taken) == (1, 0)
            with pytest.raises(Refused):
                await fake.get("/health")

    run(test)


def test_texts_that_only_look_deadly_are_answered():
    async def test():
        async with fake_tei(fake=FakeModel(poison="poison-3")) as fake:
            assert len(await fake.embed(["  ", "\x07", "poison-4", [97, 999_999], [2, 3]])) == 5
            assert fake.replica.deaths == 0

    run(test)


def test_a_replica_that_died_comes_back_after_its_time():
    async def test():
        async with fake_tei(fake=FakeModel(poison="poison"), back_s=0.05) as fake:
            with pytest.raises(Reset):
                await fake.embed("poison")
            await fake.until(lambda: fake.replica.listening)
            assert await fake.embed(TEXTS) == VECTORS

    run(test)


def test_a_process_dies_of_poison_and_lives_again_on_its_port():
    async def test():
        async with mortal("--poison", "poison", "--a-ms", "1", back_s=0.01) as replica:
            url = f"http://127.0.0.1:{replica.port}/embed"
            with pytest.raises(Reset):
                await fetch(url, method="POST", body=b'{"inputs":"poison"}', headers=[JSON], timeout_s=30)
            async with asyncio.timeout(30):
                while not (replica.deaths == 1 and replica.serving):
                    await asyncio.sleep(0)
            reply = await fetch(url, method="POST", body=b'{"inputs":"text"}', headers=[JSON], timeout_s=30)
            assert reply.status == 200

    run(test)
