"""The fake replica answers as TEI does, over real sockets."""

from base64 import b64decode
from struct import unpack

import orjson
import pytest

from bench.fake_tei.oracle import ranking, score_of, text_of, vector_of
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
