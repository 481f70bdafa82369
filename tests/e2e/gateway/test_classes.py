"""Online requests go first, and requests past their deadline are given up."""

import asyncio

import orjson
import pytest

from tests.services.gateway import LIMIT_S, gateway, run

BATCH = [f"text {n}" for n in range(2000)]


def test_a_query_goes_before_the_rest_of_a_batch():
    async def go():
        async with gateway(1) as g:
            (replica,) = g.replicas
            replica.mode = "hold"
            bulk = asyncio.create_task(g.embed(BATCH))
            await replica.arrived.wait()
            query = asyncio.create_task(g.embed("quick"))
            await g.until(lambda: replica.count_of("quick") or g.app.proxy.dispatcher.queued > 1)
            begun = len(g.app.proxy.dispatcher.replicas["r0"].chunks)
            replica.mode = 200
            while replica.held:
                replica.answer(replica.held.popleft())
            assert (await query).status == 200
            assert not bulk.done()
            place = next(n for n, exchange in enumerate(replica.seen) if b"quick" in exchange.body)
            assert place <= begun, "only chunks that were already sent are before it"
            assert (await bulk).status == 200

    run(go)


def test_a_client_can_set_the_class_of_its_request():
    async def go():
        async with gateway(1) as g:
            assert (await g.embed("x", [(b"x-priority", b"bulk")])).status == 200
            assert (await g.embed(BATCH[:40], [(b"x-priority", b"Online")])).status == 200
            text = (await g.request("GET", "/metrics")).body.decode()
            assert 'embedfleet_requests_total{class="bulk",status="200"} 1' in text
            assert 'embedfleet_requests_total{class="online",status="200"} 1' in text

    run(go)


@pytest.mark.parametrize(
    ("name", "value"),
    [("X-Priority", "urgent"), ("X-Request-Timeout-Ms", "soon"), ("X-Request-Timeout-Ms", "0")],
)
def test_an_invalid_header_is_refused_with_its_name_and_value(name, value):
    async def go():
        async with gateway(1) as g:
            reply = await g.embed("x", [(name.encode(), value.encode())])
            assert reply.status == 400
            assert name in reply.body.decode()
            assert f"`{value}`" in reply.body.decode()
            assert not g.replicas[0].seen

    run(go)


def test_a_request_is_given_up_at_its_own_deadline_and_its_connection_closed():
    async def go():
        async with gateway(1) as g:
            (replica,) = g.replicas
            replica.mode = "hold"
            reply = await g.embed("x", [(b"x-request-timeout-ms", b"30")])
            assert reply.status == 504
            assert reply.headers["x-shed-reason"] == "deadline"
            assert orjson.loads(reply.body)["error"].endswith("which is its deadline")
            await asyncio.wait_for(replica.left.wait(), LIMIT_S)
            assert g.app.proxy.dispatcher.under_way == 0

    run(go)
