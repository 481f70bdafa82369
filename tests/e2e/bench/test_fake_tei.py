"""The fake replica keeps TEI's promises over real sockets, and breaks them as told."""

import asyncio
from base64 import b64decode
from struct import unpack

import orjson
import pytest

from bench.fake_tei.model import FakeModel
from bench.fake_tei.mortal import mortal
from bench.fake_tei.oracle import ranking, score_of, text_of, vector_of
from embedfleet.errors import Refused, Reset
from embedfleet.http.client import fetch
from embedfleet.http.message import JSON
from tests.services.fake_tei import fake_tei
from tests.services.http import run

TEXTS = [text_of(f"a.{number}", tokens) for number, tokens in enumerate((60, 30, 20, 5, 100))]
VECTORS = [vector_of(text) for text in TEXTS]


def test_every_call_answers_in_teis_shape_and_in_order():
    async def test():
        async with fake_tei() as fake:
            assert await fake.embed(TEXTS) == VECTORS
            assert await fake.embed(TEXTS[0]) == VECTORS[:1]
            assert await fake.embed(TEXTS, dimensions=3) == [vector[:3] for vector in VECTORS]
            assert await fake.embed(TEXTS[0], normalize=False) != VECTORS[:1]
            per_token = orjson.loads((await fake.post("/embed_all", {"inputs": TEXTS})).body)
            assert [len(rows) for rows in per_token] == [4] * 5
            sparse = orjson.loads((await fake.post("/embed_sparse", {"inputs": TEXTS})).body)
            assert [[pair["value"] for pair in row] for row in sparse] == [[n for n in v if n > 0] for v in VECTORS]
            classes = orjson.loads((await fake.post("/predict", {"inputs": [[text] for text in TEXTS]})).body)
            assert len(classes) == 5
            assert all(row[0]["score"] >= row[1]["score"] for row in classes)
            alike = {"source_sentence": TEXTS[0], "sentences": TEXTS[:2]}
            same, other = orjson.loads((await fake.post("/similarity", {"inputs": alike})).body)
            assert (same, other < 1) == (pytest.approx(1), True)

    run(test)


def test_openais_call_has_usage_and_both_encodings():
    async def test():
        async with fake_tei() as fake:
            reply = orjson.loads((await fake.post("/v1/embeddings", {"input": TEXTS})).body)
            assert [row["embedding"] for row in reply["data"]] == VECTORS
            assert [row["index"] for row in reply["data"]] == list(range(5))
            assert reply["usage"] == {"prompt_tokens": 215, "total_tokens": 215}
            packed = {"input": TEXTS, "encoding_format": "base64"}
            reply = orjson.loads((await fake.post("/v1/embeddings", packed)).body)
            assert [list(unpack("<8f", b64decode(row["embedding"]))) for row in reply["data"]] == VECTORS

    run(test)


def test_ranks_are_sorted_as_tei_sorts_ties_included():
    async def test():
        texts = [*TEXTS, *TEXTS]  # each score twice
        async with fake_tei() as fake:
            reply = await fake.post("/rerank", {"query": "q", "texts": texts, "return_text": True})
            scores = [score_of("q", text) for text in texts]
            assert orjson.loads(reply.body) == [
                {"index": index, "text": texts[index], "score": scores[index]} for index in ranking(scores)
            ]

    run(test)


def test_a_reply_says_what_it_cost():
    async def test():
        async with fake_tei() as fake:
            headers = (await fake.post("/embed", {"inputs": TEXTS})).headers
            assert headers["x-compute-type"] == "gpu+optimized"
            assert headers["x-compute-tokens"] == "215"
            assert headers["x-compute-characters"] == str(sum(map(len, TEXTS)))
            for name in ("compute", "total", "tokenization", "queue", "inference"):
                assert headers[f"x-{name}-time"].isdecimal()

    run(test)


def test_info_tells_the_limits_and_metrics_count():
    async def test():
        async with fake_tei(kind="reranker", permits=64, client_batch=8, revision="abc") as fake:
            info = orjson.loads((await fake.get("/info")).body)
            assert info["max_concurrent_requests"] == 64
            assert info["max_client_batch_size"] == 8
            assert info["max_batch_tokens"] == 100
            assert info["model_sha"] == "abc"
            assert set(info["model_type"]) == {"reranker"}
            await fake.embed(TEXTS)
            assert b"te_embed_count 5\n" in (await fake.get("/metrics")).body

    run(test)


@pytest.mark.parametrize(
    ("body", "headers", "status", "said"),
    [
        (
            {"inputs": ["a"] * 5},
            None,
            422,
            b'{"error":"batch size 5 > maximum allowed batch size 4","error_type":"Valid',
        ),
        ({"inputs": []}, None, 400, b'"error_type":"Empty"'),
        ({"inputs": 5}, None, 422, b"Failed to deserialize the JSON body into the target type"),
        (b"{", None, 400, b"Failed to parse the request body as JSON"),
        ({"inputs": "a"}, (), 415, b"Expected request with `Content-Type: application/json`"),
        ({"inputs": "a" * 3000}, None, 413, b"Failed to buffer the request body: length limit exceeded"),
    ],
)
def test_errors_have_teis_statuses_and_words(body, headers, status, said):
    async def test():
        async with fake_tei(client_batch=4, payload_bytes=2000) as fake:
            reply = await (fake.post("/embed", body) if headers is None else fake.post("/embed", body, headers))
            assert reply.status == status
            assert said in reply.body
            assert fake.replica.permits.taken == 0

    run(test)


def test_other_paths_and_methods_are_refused():
    async def test():
        async with fake_tei() as fake:
            assert (await fake.get("/v1/models")).status == 404
            assert (await fake.get("/embed")).status == 405
            assert (await fake.post("/info", {})).status == 405

    run(test)


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


def test_the_tokenizer_is_asked_in_teis_shape():
    async def test():
        async with fake_tei() as fake:
            row = orjson.loads((await fake.post("/tokenize", {"inputs": "a ü"})).body)
            assert row == [
                [
                    {"id": 2, "text": "[CLS]", "special": True, "start": None, "stop": None},
                    {"id": 97, "text": "a", "special": False, "start": 0, "stop": 1},
                    {"id": 252, "text": "ü", "special": False, "start": 2, "stop": 4},
                    {"id": 3, "text": "[SEP]", "special": True, "start": None, "stop": None},
                ]
            ]
            bare = await fake.post("/tokenize", {"inputs": ["a", " \t"], "add_special_tokens": False})
            assert [len(tokens) for tokens in orjson.loads(bare.body)] == [1, 0]
            ids = {"ids": [[2, 97, 98, 3], [999_999], [97, 999_999]]}
            assert orjson.loads((await fake.post("/decode", ids)).body) == ["ab", "", "a"]
            kept = await fake.post("/decode", {"ids": [2, 97, 3], "skip_special_tokens": False})
            assert orjson.loads(kept.body) == ["[CLS]a[SEP]"]
            assert fake.replica.permits.taken == 0

    run(test)


@pytest.mark.parametrize(
    ("path", "body", "status", "said"),
    [
        ("/tokenize", {"inputs": ""}, 400, b"Input validation error: `inputs` cannot be empty"),
        ("/tokenize", {"inputs": []}, 400, b'{"error":"`inputs` cannot be empty","error_type":"Empty"}'),
        ("/tokenize", {"inputs": ["a"] * 5}, 422, b"batch size 5 > maximum allowed batch size 4"),
        ("/tokenize", {"inputs": [5]}, 422, b"did not match any variant of untagged enum TokenizeInput"),
        ("/decode", {"ids": []}, 400, b"`input_ids` cannot be empty"),
        ("/decode", {"ids": [[]]}, 400, b"Input validation error: `input_ids` cannot be empty"),
        ("/decode", {"ids": [-1]}, 422, b"did not match any variant of untagged enum InputIds"),
    ],
)
def test_the_tokenizer_refuses_in_teis_words(path, body, status, said):
    async def test():
        async with fake_tei(client_batch=4) as fake:
            reply = await fake.post(path, body)
            assert (reply.status, said in reply.body) == (status, True), reply

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
