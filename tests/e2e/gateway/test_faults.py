"""Faults of a replica fail no client request."""

import asyncio
from dataclasses import replace

import orjson
import pytest

from embedfleet.errors import Reset
from embedfleet.http.message import JSON
from tests.services.gateway import DISPATCH, LIMIT_S, gateway, run
from tests.services.replica import LIES, FakeReplica

# On a busy machine any reply may be late, so that the chunk is also sent to another replica.
WITHOUT_HEDGES = replace(DISPATCH, hedge=False)


@pytest.mark.parametrize("mode", [424, 500, 502, 503, 504, "reset", "half", "garbage"])
def test_a_failing_replica_fails_no_client_request(mode):
    async def go():
        async with gateway(2) as g:
            g.replicas[0].mode = mode
            replies = await asyncio.gather(*(g.embed(f"text {n}") for n in range(40)))
            assert {reply.status for reply in replies} == {200}
            assert {reply.body for reply in replies} == {b"[[1.0]]"}

    run(go)


def test_retries_are_counted_by_reason():
    async def go():
        async with gateway(2) as g:
            g.replicas[0].mode = 424
            await asyncio.gather(*(g.embed(f"text {n}") for n in range(10)))
            text = (await g.request("GET", "/metrics")).body.decode()
            retries = [line for line in text.splitlines() if line.startswith("embedfleet_retries_total{")]
            assert retries == [f'embedfleet_retries_total{{reason="status 424"}} {len(g.replicas[0].seen)}'], (
                "one retry per request that it failed"
            )

    run(go)


def test_a_busy_replicas_429_to_a_probe_does_not_eject_it():
    async def go():
        async with gateway(1, dispatch=replace(DISPATCH, probe_interval_s=0.01)) as g:
            g.replicas[0].probe_mode = 429
            probes = g.app._registry["embedfleet_probes_total"]
            seen = probes.value("r0", "good").value
            await g.until(lambda: probes.value("r0", "good").value >= seen + 3)
            assert g.states == {"r0": "active"}

    run(go)


def test_a_replica_that_joins_with_429_has_not_inferred_and_gets_nothing():
    async def go():
        full = await FakeReplica(9.0).start()
        full.probe_mode = 429
        async with gateway(1) as g:
            g.app.proxy.set_members((g.replicas[0].endpoint("r0"), full.endpoint("full")))
            await g.until(lambda: any("429" in row["reason"] for row in g.app.status()))
            assert g.states["full"] == "joining"
        await full.kill()

    run(go)


def test_a_streamed_reply_that_stalls_is_given_up():
    async def go():
        async with gateway(1, hold_bytes=100_000, response_timeout_s=0.2) as g:
            g.replicas[0].mode = "stalled stream"
            with pytest.raises(Reset):
                await g.embed()
            await asyncio.wait_for(g.replicas[0].left.wait(), LIMIT_S)
            await g.until(lambda: g.app.proxy.dispatcher.under_way == 0)

    run(go)


def test_a_hanging_replica_serves_no_more():
    async def go():
        async with gateway(2, response_timeout_s=0.3) as g:
            g.replicas[0].mode = "hang"
            g.replicas[0].probe_mode = "hang"
            replies = await asyncio.gather(*(g.embed() for _ in range(10)))
            assert {reply.body for reply in replies} == {b"[[1.0]]"}
            assert g.states["r0"] in {"suspect", "ejected"}

    run(go)


def test_a_replica_with_good_health_that_cannot_infer_never_serves():
    async def go():
        liar = await FakeReplica(9.0).start()
        liar.probe_mode = 424
        async with gateway(1) as g:
            g.app.proxy.set_members((g.replicas[0].endpoint("r0"), liar.endpoint("liar")))
            await g.until(lambda: "424" in {row["id"]: row["reason"] for row in g.app.status()}.get("liar", ""))
            replies = await asyncio.gather(*(g.embed() for _ in range(20)))
            assert {reply.body for reply in replies} == {b"[[0.0]]"}
            assert g.states["liar"] == "joining"
        await liar.kill()

    run(go)


@pytest.mark.parametrize("mode", LIES)
@pytest.mark.parametrize("path", ["/", "/invocations"])
def test_a_wrong_answer_on_the_models_own_route_reaches_no_client(path, mode):
    async def go():
        async with gateway(2) as g:
            g.replicas[0].mode = g.replicas[0].probe_mode = mode
            replies = [await g.request("POST", path, b'{"inputs":["a"]}', [JSON]) for _ in range(4)]
            assert [(reply.status, reply.body) for reply in replies] == [(200, b"[[1.0]]")] * 4

    run(go)


def test_a_probe_answered_with_nulls_is_a_failure():
    async def go():
        async with gateway(3) as g:
            g.replicas[0].probe_mode = "nulls"
            g.replicas[0].mode = "reset"
            await asyncio.gather(*(g.embed() for _ in range(10)))
            await g.until(lambda: "null" in {row["id"]: row["reason"] for row in g.app.status()}["r0"].lower())
            assert g.states["r0"] == "ejected"

    run(go)


def test_a_killed_replica_fails_no_client_request_and_comes_back_on_its_port():
    async def go():
        async with gateway(2) as g:
            port = g.replicas[0].server.port
            work = [asyncio.create_task(g.embed(f"text {n}")) for n in range(200)]
            await g.replicas[0].arrived.wait()
            await g.replicas[0].kill()
            replies = await asyncio.gather(*work)
            assert {reply.status for reply in replies} == {200}
            await g.replicas[0].start(port)
            await g.until_active(2)

    run(go)


def test_with_every_replica_gone_requests_wait_for_one_to_come_back():
    async def go():
        async with gateway(1) as g:
            port = g.replicas[0].server.port
            await g.replicas[0].kill()
            waiting = asyncio.create_task(g.embed())
            await g.until(lambda: g.app.proxy.dispatcher.queued == 1)
            assert (await g.request("GET", "/health")).status == 503
            await g.replicas[0].start(port)
            assert (await waiting).status == 200

    run(go)


def test_with_no_replica_in_time_the_client_gets_503_and_retry_after():
    async def go():
        async with gateway(0, dispatch=replace(DISPATCH, no_replica_s=0.05)) as g:
            reply = await g.embed()
            assert reply.status == 503
            assert orjson.loads(reply.body) == {"error": "no replica is ready to serve", "error_type": "Unhealthy"}
            assert int(reply.headers["retry-after"]) >= 1

    run(go)


@pytest.mark.parametrize(("priority", "status"), [(b"bulk", 429), (b"online", 503)])
def test_a_full_queue_is_refused_with_a_retry_after_that_holds(priority, status):
    async def go():
        limits = replace(DISPATCH, bulk_queue_s=0.001, online_queue_s=0.001)
        async with gateway(1, dispatch=limits) as g:
            g.replicas[0].mode = "hold"

            def ask(name: str) -> asyncio.Task:
                return asyncio.create_task(g.embed(name * 8000, [(b"x-priority", priority)]))

            asked = []
            while not g.app.proxy.dispatcher.queued:  # the replica's window takes some
                asked.append(ask("some"))
                await g.until(lambda: g.app.proxy.dispatcher.queued or len(g.replicas[0].held) == len(asked))
            third = await ask("much")
            assert third.status == status
            assert int(third.headers["retry-after"]) >= 1
            assert third.headers["x-shed-reason"] == f"{priority.decode()}-queue"
            assert orjson.loads(third.body)["error_type"] == "Overloaded"
            g.replicas[0].mode = 200
            while g.replicas[0].held:
                g.replicas[0].answer(g.replicas[0].held.popleft())
            assert {reply.status for reply in await asyncio.gather(*asked)} == {200}
            assert (await ask("much")).status == 200

    run(go)


def test_an_error_that_both_replicas_give_is_passed_on_unchanged():
    async def go():
        async with gateway(2) as g:
            for replica in g.replicas:
                replica.mode = 424
            reply = await g.embed()
            assert (reply.status, orjson.loads(reply.body)["error"]) == (424, "Backend error: status 424")

    run(go)


@pytest.mark.parametrize("status", [400, 404, 413, 422])
def test_a_clients_own_fault_is_not_sent_to_another_replica(status):
    async def go():
        async with gateway(2, dispatch=WITHOUT_HEDGES) as g:
            for replica in g.replicas:
                replica.mode = status
            assert (await g.embed()).status == status
            assert sum(len(replica.seen) for replica in g.replicas) == 1

    run(go)


def test_a_429_does_not_count_as_a_failure():
    async def go():
        async with gateway(2, coalesce=False, dispatch=WITHOUT_HEDGES) as g:
            g.replicas[0].mode = "hold"
            g.replicas[1].mode = "hold"
            held = [asyncio.create_task(g.embed(f"held {n}")) for n in range(2)]
            await g.until(lambda: all(replica.held for replica in g.replicas))
            g.replicas[0].mode = 429
            g.replicas[1].mode = 200
            replies = await asyncio.gather(*(g.embed() for _ in range(10)))
            assert {reply.body for reply in replies} == {b"[[1.0]]"}
            assert "ejected" not in g.states.values(), "either may be suspect for a moment on a busy machine"
            for replica in g.replicas:
                replica.answer(replica.held.popleft())
            assert {reply.status for reply in await asyncio.gather(*held)} == {200}

    run(go)


def test_a_replica_of_another_model_is_refused_and_named():
    async def go():
        other = FakeReplica(7.0)
        other.info["model_id"] = "/models/other"
        await other.start()
        async with gateway(1) as g:
            g.app.proxy.set_members((g.replicas[0].endpoint("r0"), other.endpoint("other")))
            await g.until(lambda: any("other" in row["reason"] for row in g.app.status()))
            assert g.states["other"] == "joining"
            assert {reply.body for reply in [await g.embed() for _ in range(4)]} == {b"[[0.0]]"}
        await other.kill()

    run(go)


def test_a_replica_that_dies_in_a_streamed_reply_breaks_the_clients_connection():
    async def go():
        async with gateway(1, hold_bytes=100_000) as g:
            g.replicas[0].mode = "broken stream"
            reader, writer = await asyncio.open_connection("127.0.0.1", g.port)
            body = orjson.dumps({"inputs": "x"})
            writer.write(b"POST /embed HTTP/1.1\r\nhost: h\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))
            try:
                answer = await asyncio.wait_for(reader.read(-1), LIMIT_S)
            except ConnectionResetError:
                answer = b""
            assert not answer.endswith(b"0\r\n\r\n"), "a cut reply must not look whole"
            writer.close()
            await g.until(lambda: g.app.proxy.dispatcher.under_way == 0)

    run(go)


def test_members_change_under_load_without_a_lost_request():
    async def go():
        async with gateway(2) as g:
            third = await FakeReplica(2.0).start()
            work = [asyncio.create_task(g.embed(f"text {n}")) for n in range(100)]
            await g.replicas[0].arrived.wait()
            g.app.proxy.set_members((g.replicas[1].endpoint("r1"), third.endpoint("r2")))
            work += [asyncio.create_task(g.embed(f"more {n}")) for n in range(100)]
            assert {reply.status for reply in await asyncio.gather(*work)} == {200}
            await g.until(lambda: g.states == {"r1": "active", "r2": "active"})
            seen = len(g.replicas[0].seen)
            await asyncio.gather(*(g.embed() for _ in range(20)))
            assert len(g.replicas[0].seen) == seen
            await third.kill()

    run(go)
