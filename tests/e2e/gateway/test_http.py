"""HTTP through the gateway: forwarded and dropped fields, and misbehaving clients."""

import asyncio
from dataclasses import replace

import orjson
import pytest

from embedfleet.gateway import proxy
from embedfleet.gateway.admin import Admin
from embedfleet.http.client import fetch
from embedfleet.http.message import Limits
from tests.services.gateway import LIMIT_S, SETTINGS, gateway, run

BODY = orjson.dumps({"inputs": "x"})


def post(path: bytes, body: bytes, *lines: bytes) -> bytes:
    return b"\r\n".join([b"POST %b HTTP/1.1" % path, b"host: h", b"content-length: %d" % len(body), *lines, b"", body])


async def talk(port: int, data: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    answer = await asyncio.wait_for(reader.read(-1), LIMIT_S)
    writer.close()
    return answer


def test_fields_are_forwarded_except_those_of_the_hop():
    async def go():
        async with gateway(1) as g:
            data = post(
                b"/embed?a=1",
                BODY,
                b"content-type: application/json",
                b"authorization: Bearer k",
                b"x-forwarded-for: 10.0.0.1",
                b"connection: close, x-hop",
                b"x-hop: 1",
                b"te: trailers",
            )
            answer = await talk(g.port, data)
            seen = g.replicas[0].seen[0]
            assert seen.target == b"/embed?a=1"
            assert seen.body == BODY
            assert seen.header(b"authorization") == b"Bearer k"
            assert seen.header(b"x-forwarded-for") == b"10.0.0.1, 127.0.0.1"
            assert seen.header(b"host") == b"127.0.0.1:%d" % g.replicas[0].server.port
            assert seen.header(b"x-hop") is None
            assert seen.header(b"te") is None
            assert b"x-compute-tokens: " in answer
            assert answer.count(b"date: ") == 1
            assert answer.endswith(b"[[0.0]]")

    run(go)


def test_a_request_id_is_kept_or_made_and_sent_to_both_sides():
    async def go():
        async with gateway(1) as g:
            kept = await g.embed(headers=[(b"x-request-id", b"mine")])
            made = await g.embed()
            assert kept.headers["x-request-id"] == "mine"
            assert g.replicas[0].seen[0].header(b"x-request-id") == b"mine"
            assert made.headers["x-request-id"].encode() == g.replicas[0].seen[1].header(b"x-request-id") != b""

    run(go)


def test_pipelined_and_chunked_requests_are_answered_in_order():
    async def go():
        async with gateway(2) as g:
            chunked = b"POST /embed HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n"
            chunked += b"5\r\n%b\r\n%x\r\n%b\r\n0\r\n\r\n" % (BODY[:5], len(BODY) - 5, BODY[5:])
            two = orjson.dumps({"inputs": ["a", "b"]})
            answer = await talk(g.port, post(b"/embed", BODY) + chunked + post(b"/embed", two, b"connection: close"))
            bodies = [part.partition(b"\r\n\r\n")[2] for part in answer.split(b"HTTP/1.1 200 OK")[1:]]
            assert [len(orjson.loads(body)) for body in bodies] == [1, 1, 2]

    run(go)


def test_expect_continue_works_through_the_gateway():
    async def go():
        async with gateway(1) as g:
            answer = await talk(g.port, post(b"/embed", BODY, b"expect: 100-continue", b"connection: close"))
            assert answer.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK")
            assert g.replicas[0].seen[0].header(b"expect") is None

    run(go)


def test_a_body_over_the_limit_is_refused_by_the_gateway_in_teis_words():
    async def go():
        async with gateway(1) as g:
            reply = await g.request("POST", "/embed", b"x" * 10_000_000)
            assert (reply.status, reply.body) == (413, b"Failed to buffer the request body: length limit exceeded")
            assert not g.replicas[0].seen
            assert (await g.embed()).status == 200

    run(go)


def test_a_client_that_sends_its_head_too_slowly_gets_408_and_others_are_served():
    async def go():
        async with gateway(1, limits=Limits(header_timeout_s=0.01)) as g:
            loris = asyncio.create_task(talk(g.port, b"POST /embed HTTP/1.1\r\nx: "))
            assert (await g.embed()).status == 200
            assert (await loris).startswith(b"HTTP/1.1 408 ")

    run(go)


def test_a_reply_over_the_hold_limit_is_streamed_whole():
    async def go():
        async with gateway(1, hold_bytes=300_000) as g:
            g.replicas[0].mode = "huge"
            reply = await g.embed()
            assert reply.status == 200
            assert reply.body == b"x" * 10_000_000

    run(go)


def test_a_client_that_reads_slowly_slows_the_replica_and_not_the_gateway():
    async def go():
        async with gateway(1, hold_bytes=300_000) as g:
            g.replicas[0].mode = "huge"
            reader, writer = await asyncio.open_connection("127.0.0.1", g.port, limit=1000)
            writer.write(post(b"/embed", BODY, b"connection: close"))
            await g.until(lambda: any(c._write_paused for c in g.app.server.clients))
            g.replicas[0].mode = 200
            assert (await g.embed()).status == 200
            assert sum(c._transport.get_write_buffer_size() for c in g.app.server.clients) < 5_000_000
            size = 0
            while part := await asyncio.wait_for(reader.read(1 << 20), LIMIT_S):
                size += len(part)
            assert size > 10_000_000
            writer.close()

    run(go)


def test_a_client_that_leaves_takes_its_upstream_connection_with_it():
    async def go():
        async with gateway(1) as g:
            g.replicas[0].mode = "hold"
            _, writer = await asyncio.open_connection("127.0.0.1", g.port)
            writer.write(post(b"/embed", BODY))
            await g.replicas[0].arrived.wait()
            writer.close()
            await asyncio.wait_for(g.replicas[0].left.wait(), LIMIT_S)
            await g.until(lambda: g.app.proxy.dispatcher.under_way == 0)
            assert g.app.status()[0]["requests"] == 0

    run(go)


def test_a_client_that_leaves_while_it_waits_is_forgotten():
    async def go():
        async with gateway(0) as g:
            _, writer = await asyncio.open_connection("127.0.0.1", g.port)
            writer.write(post(b"/embed", BODY))
            await g.until(lambda: g.app.proxy.dispatcher.queued == 1)
            writer.close()
            await g.until(lambda: g.app.proxy.dispatcher.queued == 0)

    run(go)


def test_a_kept_upstream_connection_that_went_stale_is_replaced_unnoticed():
    async def go():
        async with gateway(1) as g:
            assert (await g.embed()).status == 200
            for client in list(g.replicas[0].server.clients):
                client.close()
            replies = [await g.embed() for _ in range(3)]
            assert {reply.status for reply in replies} == {200}
            assert g.states == {"r0": "active"}

    run(go)


def test_upstream_connections_are_kept_and_reused():
    async def go():
        async with gateway(1) as g:
            for _ in range(20):
                await g.embed()
            connections = {id(exchange._connection) for exchange in g.replicas[0].seen}
            assert len(connections) == 1

    run(go)


def test_head_and_unknown_paths_reach_the_replica():
    async def go():
        async with gateway(1) as g:
            assert (await g.request("GET", "/missing")).status == 404
            answer = await talk(g.port, b"HEAD /docs HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n")
            assert answer.startswith(b"HTTP/1.1 200 OK")
            assert answer.endswith(b"\r\n\r\n")

    run(go)


@pytest.mark.parametrize("path", ["/health", "/ping", "/", "/readyz", "/livez", "/health?verbose"])
def test_health_is_200_while_a_replica_serves(path):
    async def go():
        async with gateway(1) as g:
            assert (await g.request("GET", path)).status == 200
            assert not g.replicas[0].seen

    run(go)


def test_readyz_info_and_metrics_show_the_drain_and_the_pool():
    async def go():
        async with gateway(2) as g:
            await g.embed()
            info = orjson.loads((await g.request("GET", "/info")).body)
            assert info["model_type"] == {"embedding": {"pooling": "mean"}}
            assert (info["gateway"]["replicas"], info["gateway"]["active"]) == (2, 2)
            assert info["gateway"]["compiled"] is not proxy.__file__.endswith(".py")
            text = (await g.request("GET", "/metrics")).body.decode()
            assert 'embedfleet_requests_total{class="online",status="200"} 1' in text
            assert 'embedfleet_replica_state{replica="r0",state="active"} 1' in text
            assert 'embedfleet_probes_total{replica="r1",outcome="good"}' in text
            g.app.server.begin_drain()
            assert (await g.request("GET", "/readyz")).status == 503
            assert (await g.embed()).status == 200

    run(go)


@pytest.mark.parametrize(("most", "told"), [(7, 7), (4096, 32)])
def test_a_batch_of_the_size_in_info_is_accepted(most, told):
    async def go():
        async with gateway(1, request_texts=most) as g:
            info = orjson.loads((await g.request("GET", "/info")).body)
            assert info["max_client_batch_size"] == told
            assert (await g.request("POST", "/embed", orjson.dumps({"inputs": ["a"] * told}))).status == 200

    run(go)


def test_openais_route_gets_errors_in_openais_shape():
    async def go():
        async with gateway(0, dispatch=replace(SETTINGS.dispatch, no_replica_s=0.05)) as g:
            reply = await g.request("POST", "/v1/embeddings", b"{}")
            assert orjson.loads(reply.body) == {
                "message": "no replica is ready to serve",
                "code": 503,
                "type": "Unhealthy",
            }

    run(go)


def test_the_admin_socket_shows_and_replaces_the_replicas(tmp_path):
    async def go():
        async with gateway(2) as g:
            admin = Admin(g.app.proxy, g.app.status, {"/new-model": g.app.allow_new_model})
            await admin.server.start(path=str(tmp_path / "a"))
            url = f"http+unix://{tmp_path / 'a'}:/replicas"
            rows = orjson.loads((await fetch(url, timeout_s=5)).body)
            assert [(row["id"], row["state"]) for row in rows] == [("r0", "active"), ("r1", "active")]
            body = orjson.dumps([g.replicas[1].endpoint("r1").to_json()])
            await fetch(url, method="PUT", body=body, timeout_s=5)
            assert g.states == {"r1": "active"}
            assert (await fetch(url, method="PUT", body=b"{", timeout_s=5)).status == 422
            assert (await fetch(url, method="DELETE", timeout_s=5)).status == 405
            await admin.server.stop(0)

    run(go)
