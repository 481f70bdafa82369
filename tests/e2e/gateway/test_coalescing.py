"""Coalescing: small simultaneous requests share a call, without a trace in their answers."""

import asyncio
from dataclasses import replace

import orjson
import pytest

from embedfleet.dialects.splitting.apportioning import apportioned
from embedfleet.gateway.dispatch.replica_speed import BatchCost
from tests.services.gateway import DISPATCH, gateway, run

FIXED = BatchCost(a_s=1.0, b_s=1e-6)  # tokens cost nearly nothing, so any number of texts may share a batch


def spread_out(g):
    """Give every replica nearly the same cost for many texts as for one."""
    for name in g.states:
        g.app.proxy.probed(name, "", cost=FIXED)


async def together(g, inputs, **given):
    """Send requests on kept connections, all written before any answer is read."""
    links = [await asyncio.open_connection("127.0.0.1", g.port) for _ in inputs]
    for (_, writer), text in zip(links, inputs, strict=True):
        body = orjson.dumps({"inputs": text, **given})
        head = b"POST /embed HTTP/1.1\r\nhost: h\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
        writer.write(head % len(body) + body)
    answers = []
    for reader, writer in links:
        head = await reader.readuntil(b"\r\n\r\n")
        fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:-2])
        body = await reader.readexactly(int(fields[b"content-length"]))
        answers.append((int(head.split()[1]), fields, body))
        writer.close()
    return answers


def test_each_client_gets_its_own_answer_and_request_id():
    async def go():
        async with gateway(1) as g:
            spread_out(g)
            (replica,) = g.replicas
            replica.echo = True
            answers = await together(g, [f"text {n}" for n in range(20)])
            assert [(status, body) for status, _, body in answers] == [(200, b"[[%d.0]]" % n) for n in range(20)]
            assert len({fields[b"x-request-id"] for _, fields, _ in answers}) == 20
            assert len(replica.seen) < 20, "some requests shared a call"
            tokens = [int(fields[b"x-compute-tokens"]) for _, fields, _ in answers]
            assert sum(tokens) == sum(max(1, len(exchange.body) // 2) for exchange in replica.seen)

    run(go)


def test_requests_with_other_parameters_do_not_share_a_call():
    async def go():
        async with gateway(1) as g:
            spread_out(g)
            (replica,) = g.replicas
            both = await asyncio.gather(together(g, ["a"] * 8), together(g, ["a"] * 8, normalize=False))
            assert {status for answers in both for status, _, _ in answers} == {200}
            options = [orjson.loads(exchange.body) for exchange in replica.seen]
            asked = {True: 0, False: 0}
            for value in options:
                asked[value.get("normalize", True)] += len(value["inputs"]) if isinstance(value["inputs"], list) else 1
            assert asked == {True: 8, False: 8}

    run(go)


@pytest.mark.parametrize("status", [413, 424, 422])
def test_only_the_client_with_the_faulty_text_gets_its_error(status):
    async def go():
        async with gateway(1) as g:
            spread_out(g)
            (replica,) = g.replicas
            replica.poison, replica.poisoned = "poison", status
            texts = [f"text {n}" for n in range(8)]
            texts[3] = "poison"
            answers = await together(g, texts)
            assert [answer[0] for answer in answers] == [200, 200, 200, status, 200, 200, 200, 200]

    run(go)


def test_a_client_that_leaves_does_not_affect_the_others():
    async def go():
        async with gateway(1) as g:
            spread_out(g)
            (replica,) = g.replicas
            replica.mode = "hold"
            tasks = [asyncio.create_task(g.embed(f"text {n}")) for n in range(12)]
            await replica.arrived.wait()
            tasks[0].cancel()
            tasks[5].cancel()
            metric = g.app._registry["embedfleet_client_gone_total"].value()
            await g.until(lambda: metric.value == 2)
            replica.mode = 200
            while replica.held:
                replica.answer(replica.held.popleft())
            others = [task for number, task in enumerate(tasks) if number not in {0, 5}]
            assert {reply.status for reply in await asyncio.gather(*others)} == {200}
            await g.until(lambda: g.app.proxy.dispatcher.under_way == 0)

    run(go)


def test_clients_refused_together_are_each_admitted_at_their_own_time():
    """A former version gave all the Retry-After of the shared call, and then refused 5 of 8 again."""

    async def go():
        async with gateway(1, dispatch=replace(DISPATCH, online_queue_s=0.001)) as g:
            spread_out(g)
            g.app.proxy.dispatcher.replicas["r0"].full_until = 1e12  # nothing is sent
            first = asyncio.create_task(g.embed("waits"))
            await g.until(lambda: g.app.proxy.dispatcher.queued == 1)
            texts = [f"a text {n} " + "of many words " * 300 for n in range(8)]
            refused_at = g.app.proxy.now()
            answers = await together(g, texts)
            assert {(status, fields[b"x-shed-reason"]) for status, fields, _ in answers} == {(503, b"online-queue")}
            reservations = g.app.proxy.dispatcher._admission._reservations_of_huge[True]
            assert len(reservations) == 8
            times = [refused_at + int(fields[b"retry-after"]) for _, fields, _ in answers]
            for at, text in sorted(zip(times, texts, strict=True)):
                g.app.proxy.intake._now = lambda at=at: at  # the time that its client was given
                retry = asyncio.create_task(g.embed(text))
                await g.until(lambda: g.app.proxy.dispatcher.queued == 2)
                retry.cancel()  # by the next one's time, this one would have been computed
                await g.until(lambda: g.app.proxy.dispatcher.queued == 1)
            first.cancel()

    run(go)


def test_requests_go_alone_if_tokens_are_the_main_cost():
    async def go():
        async with gateway(1) as g:
            g.app.proxy.probed("r0", "", cost=BatchCost(a_s=1e-6, b_s=1e-5))
            await together(g, ["text"] * 10)
            assert len(g.replicas[0].seen) == 10

    run(go)


def test_coalescing_can_be_switched_off():
    async def go():
        async with gateway(1, coalesce=False) as g:
            spread_out(g)
            await together(g, ["text"] * 10)
            assert len(g.replicas[0].seen) == 10

    run(go)


def test_apportioned_numbers_add_up():
    assert apportioned(10, [1, 1, 1]) == [3, 4, 3]
    assert apportioned(7, [0, 0]) == [0, 0]
    assert sum(apportioned(997, [3, 50, 1, 8, 20])) == 997
