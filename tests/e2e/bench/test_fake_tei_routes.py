"""The fake replica's routes, methods, key and pages are those of a real TEI, beyond the recorded cases."""

import orjson
import pytest

from embedfleet.http.client import fetch
from embedfleet.http.message import JSON
from tests.services.fake_tei import LIMIT_S, fake_tei
from tests.services.http import run

VARY = "origin, access-control-request-method, access-control-request-headers"
POSTED = [
    "/embed", "/embed_all", "/embed_sparse", "/rerank", "/predict", "/similarity", "/tokenize", "/decode",
    "/v1/embeddings", "/embeddings", "/invocations", "/vertex",
]  # fmt: skip
READ = ["/health", "/ping", "/info", "/metrics", "/docs", "/docs/", "/api-doc/openapi.json"]
METHODS = {"/": "POST,GET,HEAD", **dict.fromkeys(POSTED, "POST"), **dict.fromkeys(READ, "GET,HEAD")}
BODIES = {
    "/rerank": {"query": "a", "texts": ["b"]},
    "/similarity": {"inputs": {"source_sentence": "a", "sentences": ["b"]}},
    "/decode": {"ids": [97]},
    "/v1/embeddings": {"input": "a"},
    "/embeddings": {"input": "a"},
    "/vertex": {"instances": [{"inputs": "a"}]},
}


async def ask(fake, method, path, body=b"", headers=()):
    url = f"http://127.0.0.1:{fake.replica.port}{path}"
    return await fetch(url, method=method, body=body, headers=headers, timeout_s=LIMIT_S)


def lets_any_page_read(reply) -> bool:
    return (reply.headers.get("access-control-allow-origin"), reply.headers.get("vary")) == ("*", VARY)


def test_a_method_that_a_path_does_not_take_is_refused_with_those_that_it_takes():
    async def test():
        async with fake_tei() as fake:
            for path, allowed in METHODS.items():
                for method in {"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH"} - {*allowed.split(",")}:
                    reply = await ask(fake, method, path)
                    told = (reply.status, reply.headers.get("allow"), reply.body, lets_any_page_read(reply))
                    assert told == (405, allowed, b"", True), (method, path)

    run(test)


def test_head_is_answered_where_get_is_and_without_a_body():
    async def test():
        async with fake_tei() as fake:
            for path in ["/", *READ]:
                got, head = await ask(fake, "GET", path), await ask(fake, "HEAD", path)
                assert (head.status, head.body) == (got.status, b""), path
                changing = {"date"}
                assert {k: v for k, v in head.headers.items() if k not in changing} == {
                    k: v for k, v in got.headers.items() if k not in changing
                }
                assert lets_any_page_read(head)

    run(test)


@pytest.mark.parametrize(
    "asked",
    [
        [],
        [(b"origin", b"https://b.example:8080"), (b"access-control-request-method", b"GET")],
        [(b"access-control-request-headers", b"authorization, x-other"), (b"access-control-request-method", b"PUT")],
    ],
)
@pytest.mark.parametrize("key", ["", "secret"])
def test_a_preflight_is_answered_the_same_whatever_it_asks(asked, key):
    async def test():
        async with fake_tei(api_key=key) as fake:
            for path, allowed in {**METHODS, "/nope": None, "/embed/": None}.items():
                reply = await ask(fake, "OPTIONS", path, b"", asked)
                assert (reply.status, reply.body, reply.headers.get("allow")) == (200, b"", allowed), path
                assert reply.headers["access-control-allow-methods"] == "GET,POST"
                assert reply.headers["access-control-allow-headers"] == "content-type"
                assert lets_any_page_read(reply)

    run(test)


def test_with_a_key_nothing_but_health_metrics_and_pages_is_told_without_it():
    async def test():
        async with fake_tei(api_key="a key") as fake:
            for path in POSTED:
                body = orjson.dumps(BODIES.get(path, {"inputs": "a"}))
                for headers in ([JSON], [JSON, (b"authorization", b"Bearer a  key")], [(b"authorization", b"a key")]):
                    reply = await ask(fake, "POST", path, body, headers)
                    assert (reply.status, reply.body, lets_any_page_read(reply)) == (401, b"", True), path
                reply = await ask(fake, "POST", path, body, [JSON, (b"authorization", b"Bearer a key")])
                assert reply.status == 200, path
                assert (await ask(fake, "GET", path)).status == 401
            assert (await ask(fake, "POST", "/", b'{"inputs":"a"}', [JSON])).status == 401
            assert {path: (await ask(fake, "GET", path)).status for path in ("/", *READ)} == {
                **dict.fromkeys(("/", *READ), 200), "/docs": 303, "/info": 401,
            }  # fmt: skip
            assert (await ask(fake, "GET", "/nope")).status == 404

    run(test)


def test_pages_are_what_they_say():
    async def test():
        async with fake_tei() as fake:
            assert (await ask(fake, "GET", "/docs")).headers["location"] == "/docs/"
            page = await ask(fake, "GET", "/docs/")
            assert (page.headers["content-type"], b"/api-doc/openapi.json" in page.body) == ("text/html", True)
            told = orjson.loads((await ask(fake, "GET", "/api-doc/openapi.json")).body)
            assert {"/embed", "/rerank", "/vertex", "/info"} <= told["paths"].keys()

    run(test)


def test_vertex_asks_for_each_instance_on_its_own():
    async def test():
        async with fake_tei(client_batch=2) as fake:
            body = {"instances": [{"inputs": ["a", "b"]}, {"query": "q", "texts": ["c", "d"]}, {"inputs": "e"}]}
            reply = await fake.post("/vertex", body)
            assert (reply.status, "x-compute-tokens" in reply.headers) == (200, False)
            found = orjson.loads(reply.body)["predictions"]
            alone = [await fake.embed(["a", "b"]), await fake.embed("e")]
            ranks = orjson.loads((await fake.post("/rerank", {"query": "q", "texts": ["c", "d"]})).body)
            assert found == [alone[0], ranks, alone[1]]
            assert fake.replica.permits.taken == 0

    run(test)


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({"instances": []}, 200, b'{"predictions":[]}'),
        ({"instances": [{"inputs": "a"}, {"x": 1}]}, 422, b'{"error":"missing field `inputs`","error_type":"Valid'),
        ({"instances": [{"inputs": []}]}, 400, b"cannot be empty"),
        (
            {"instances": [{"query": "q", "texts": []}]},
            400,
            b'{"error":"`texts` cannot be empty","error_type":"Empty"}',
        ),
        ({"instances": [{"inputs": ["a"] * 3}]}, 422, b"batch size 3 > maximum allowed batch size 2"),
        ({"instances": "a"}, 422, b'instances: invalid type: string "a", expected a sequence at line 1 column 16'),
        ({"instances": None}, 422, b"instances: invalid type: null, expected a sequence"),
        ({"instances": [5]}, 422, b"expected struct EmbedRequest"),
        ({}, 422, b"Failed to deserialize the JSON body into the target type: missing field `instances`"),
    ],
)
def test_vertex_refuses_as_the_instances_own_route_does(body, status, said):
    async def test():
        async with fake_tei(client_batch=2) as fake:
            reply = await fake.post("/vertex", body)
            assert (reply.status, said in reply.body) == (status, True), reply
            assert fake.replica.permits.taken == 0

    run(test)


@pytest.mark.parametrize(
    ("kind", "body", "alias"),
    [
        ("embedding", {"inputs": "a"}, "/embed"),
        ("reranker", {"query": "q", "texts": ["a", "b"]}, "/rerank"),
        ("classifier", {"inputs": [["a"], ["b", "c"]]}, "/predict"),
        ("splade", {"inputs": "a"}, "/embed_sparse"),
    ],
)
def test_the_models_own_route_follows_its_kind(kind, body, alias):
    async def test():
        async with fake_tei(kind=kind) as fake:
            expected = await fake.post(alias, body)
            for path in ("/", "/invocations"):
                assert (await fake.post(path, body)).body == expected.body
            assert expected.status == 200

    run(test)


def test_what_is_not_cut_is_refused_and_names_are_told():
    async def test():
        async with fake_tei(auto_truncate=False, longest=10, prompt_name="query", served_name="river") as fake:
            for path, body in {
                "/embed": {"inputs": ["a", "n=11|a|"]},
                "/embed_all": {"inputs": "n=11|a|"},
                "/embed_sparse": {"inputs": "n=11|a|"},
                "/predict": {"inputs": "n=11|a|"},
                "/rerank": {"query": "n=1|q|", "texts": ["n=10|a|"]},
                "/similarity": {"inputs": {"source_sentence": "a", "sentences": ["n=11|a|"]}},
            }.items():
                reply = await fake.post(path, body)
                assert (reply.status, b"must have less than 10 tokens. Given: 11" in reply.body) == (422, True), path
            assert (await fake.post("/embeddings", {"input": "n=11|a|"})).status == 422
            assert await fake.embed("n=11|a|", truncate=True) == await fake.embed(
                "n=11|a|", truncate=True, prompt_name="query"
            )
            assert await fake.embed("n=10|a|") != await fake.embed("n=10|a|", prompt_name="passage")
            assert orjson.loads((await fake.post("/embeddings", {"input": "a"})).body)["model"] == "river"
            info = orjson.loads((await fake.get("/info")).body)
            assert (info["served_model_name"], info["auto_truncate"]) == ("river", False)
        async with fake_tei(longest=10) as fake:
            assert len(await fake.embed("n=11|a|")) == 1
            assert (await fake.post("/embed", {"inputs": "n=11|a|", "truncate": False})).status == 422

    run(test)
