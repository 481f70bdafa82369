"""The fake replica has TEI's permits and queue."""

import asyncio

import orjson

from bench.fake_tei.oracle import text_of, vector_of
from tests.services.fake_tei import fake_tei
from tests.services.http import run

TEXTS = [text_of(f"a.{number}", tokens) for number, tokens in enumerate((60, 30, 20, 5, 100))]
VECTORS = [vector_of(text) for text in TEXTS]


def test_permits_are_per_text_all_or_none_and_refused_without_retry_after():
    async def test():
        async with fake_tei(permits=8) as fake:
            await fake.order(kind="hang")
            held = fake.begin(TEXTS)
            await fake.until_taken(5)
            refused = await fake.post("/embed", {"inputs": TEXTS[:4]})
            assert (refused.status, orjson.loads(refused.body)) == (
                429,
                {"error": "Model is overloaded", "error_type": "Overloaded"},
            )
            assert "retry-after" not in refused.headers
            openai = await fake.post("/v1/embeddings", {"input": TEXTS[:4]})
            assert orjson.loads(openai.body) == {"message": "Model is overloaded", "code": 429, "type": "Overloaded"}
            fits = fake.begin(TEXTS[:3])
            await fake.until_taken(8)
            await fake.order(kind="heal")
            assert [(await task).status for task in (held, fits)] == [200, 200]
            assert fake.replica.permits.taken == 0

    run(test)


def test_texts_are_computed_in_the_order_of_their_coming():
    async def test():
        async with fake_tei() as fake:
            await fake.order(kind="hang")
            tasks = []
            for number in range(3):
                tasks.append(fake.begin([text_of(f"{number}.{place}", 60) for place in range(3)]))
                await fake.until_taken(3 * (number + 1))
            await fake.order(kind="heal")
            await asyncio.gather(*tasks)
            log = await fake.told("/log")
            assert [name for name, _, _ in log] == [f"{n}.{p}" for n in range(3) for p in range(3)]
            assert sorted(at for _, _, at in log) == [at for _, _, at in log]

    run(test)


def test_texts_of_a_client_that_left_are_never_computed_and_its_permits_are_free_at_once():
    async def test():
        async with fake_tei() as fake:
            await fake.order(kind="hang")
            tasks = [fake.begin([text_of(f"{number}.{place}", 60) for place in range(3)]) for number in range(2)]
            await fake.until_taken(6)
            for task in tasks:
                task.cancel()
            await fake.until_taken(0)
            last = fake.begin([text_of("last", 5)])
            await fake.until_taken(1)
            await fake.order(kind="heal")
            assert (await last).status == 200
            (stats,) = await fake.told("/stats")
            # One text had been formed into a batch before its client left; it is run for nobody.
            assert [name for name, _, _ in await fake.told("/log")] in (["0.0", "last"], ["1.0", "last"])
            assert stats["dropped"] == 5
            assert stats["counts"]["gone"] == 2

    run(test)


def test_health_waits_while_the_device_stands_still():
    async def test():
        async with fake_tei() as fake:
            assert (await fake.get("/health")).status == 200
            await fake.order(kind="hang")
            health = asyncio.ensure_future(fake.get("/health"))
            assert (await fake.get("/info")).status == 200  # which is answered all the same
            assert not health.done()
            await fake.order(kind="heal")
            assert (await health).status == 200

    run(test)
