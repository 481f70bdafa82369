"""The gateway gives browsers what they need: CORS fields on its own answers, preflights, Allow."""

import asyncio

import orjson
import pytest

from embedfleet.http.message import JSON, Limits
from tests.services.gateway import SETTINGS, gateway, run

CORS_LINES = (
    b"vary: origin, access-control-request-method, access-control-request-headers\r\naccess-control-allow-origin: *\r\n"
)
VARY = "origin, access-control-request-method, access-control-request-headers"
OWN = ["/health", "/ping", "/readyz", "/livez", "/info", "/metrics"]
POSTED = [
    "/embed", "/embed_all", "/embed_sparse", "/rerank", "/predict", "/similarity", "/tokenize", "/decode",
    "/v1/embeddings", "/embeddings", "/invocations", "/vertex",
]  # fmt: skip


def lets_any_page_read(reply) -> bool:
    return (reply.headers.get("access-control-allow-origin"), reply.headers.get("vary")) == ("*", VARY)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("path", ["/", *OWN, "/health?x=1"])
def test_any_page_may_read_the_gateways_own_answers(method, path):
    async def test():
        async with gateway(1) as g:
            reply = await g.request(method, path)
            assert (reply.status, lets_any_page_read(reply)) == (200, True)
            assert method == "GET" or not reply.body

    run(test)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_a_wrong_method_on_an_own_path_is_refused_with_the_allowed_ones(method):
    async def test():
        async with gateway(1) as g:
            for path in OWN:
                reply = await g.request(method, path, b"{}" if method == "POST" else b"", [JSON])
                told = (reply.status, reply.headers.get("allow"), reply.body)
                assert told == (405, "GET,HEAD", b""), path
                assert lets_any_page_read(reply)
            if method != "POST":  # a POST to / goes to the model
                reply = await g.request(method, "/?x=1")
                assert (reply.status, reply.headers["allow"]) == (405, "POST,GET,HEAD")
            assert g.replicas[0].seen == []

    run(test)


@pytest.mark.parametrize(
    "asked",
    [
        [],
        [(b"origin", b"http://a.example"), (b"access-control-request-method", b"POST")],
        [(b"origin", b"null"), (b"access-control-request-headers", b"authorization, x-priority")],
        [(b"access-control-request-method", b"DELETE"), (b"access-control-request-private-network", b"true")],
    ],
)
def test_a_preflight_is_answered_at_once_whatever_it_asks_and_without_a_replica(asked):
    async def test():
        async with gateway(1) as g:
            await g.replicas[0].kill()
            methods = {"/": "POST,GET,HEAD", **dict.fromkeys(POSTED, "POST"), **dict.fromkeys(OWN, "GET,HEAD")}
            for path, allowed in methods.items():
                reply = await g.request("OPTIONS", path, b"", asked)
                assert (reply.status, reply.body, reply.headers["allow"]) == (200, b"", allowed), path
                assert reply.headers["access-control-allow-methods"] == "GET,POST"
                assert reply.headers["access-control-allow-headers"] == "content-type"
                assert lets_any_page_read(reply)

    run(test)


def test_a_preflight_of_an_unknown_path_goes_to_a_replica():
    async def test():
        async with gateway(1) as g:
            g.replicas[0].mode = 204
            assert (await g.request("OPTIONS", "/encode")).status == 204

    run(test)


def test_any_page_may_read_refusals():
    async def test():
        async with gateway(1, request_texts=2) as g:
            refused = [
                await g.embed("x" * SETTINGS.limits.body_bytes),
                await g.embed(["a"] * 3),
                await g.embed(headers=[(b"x-priority", b"none")]),
            ]
            assert [reply.status for reply in refused] == [413, 422, 400]
            assert all(map(lets_any_page_read, refused))

    run(test)


def test_any_page_may_read_answers_to_invalid_http():
    async def test():
        async with gateway(1, limits=Limits(header_bytes=300)) as g:
            for head in (b"GET /%b HTTP/1.1\r\nhost: h\r\n\r\n" % (b"x" * 400), b"nonsense\r\n\r\n"):
                said = await said_to(g.port, head)
                assert (said[9:12], CORS_LINES in said) in ((b"414", True), (b"400", True)), said
        async with gateway(1, limits=Limits(connections=1)) as g:
            reader, writer = await asyncio.open_connection("127.0.0.1", g.port)
            writer.write(b"GET /livez HTTP/1.1\r\nhost: h\r\n\r\n")
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
            said = await said_to(g.port, b"")
            assert (said[9:12], CORS_LINES in said) == (b"503", True)
            writer.close()

    run(test)


async def said_to(port: int, data: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    said = await reader.readuntil(b"\r\n\r\n")
    writer.close()
    return said


def test_any_page_may_read_that_no_replica_serves():
    async def test():
        async with gateway(0) as g:
            replies = [await g.request("GET", path) for path in ("/", "/health", "/ping", "/readyz", "/info")]
            replies.append(
                await g.request("POST", "/embed", b'{"inputs":"a"}', [JSON, (b"x-request-timeout-ms", b"1")])
            )
            assert {reply.status for reply in replies} <= {503, 504}
            assert all(map(lets_any_page_read, replies))

    run(test)


def test_nulls_for_optional_fields_are_accepted():
    """LiteLLM sends a null ``encoding_format``. The cases are: alone, in a list, and coalesced with others."""

    async def test():
        async with gateway(1) as g:
            bodies = [{"inputs": "a", "normalize": None}, {"inputs": ["a", "b"], "truncation_direction": None}]
            replies = await asyncio.gather(*(g.request("POST", "/embed", orjson.dumps(one), [JSON]) for one in bodies))
            assert [reply.status for reply in replies] == [200, 200]
            await g.request("POST", "/embeddings", b'{"input":"a","encoding_format":null,"user":null}', [JSON])
            seen = [orjson.loads(exchange.body) for exchange in g.replicas[0].seen]
            assert {"inputs": "a", "normalize": True} in seen
            assert {"inputs": ["a", "b"], "truncation_direction": "Right"} in seen
            assert {"input": "a", "encoding_format": "float", "user": None} in seen

    run(test)
