"""A hanging replica is noticed by its silence; a drained one gets no requests."""

import asyncio
from dataclasses import replace

from tests.services.gateway import DISPATCH, LIMIT_S, gateway, run


def test_chunks_of_a_silent_replica_are_also_sent_to_another():
    async def go():
        async with gateway(2) as g:
            for replica in g.replicas:
                replica.probe_mode = "hang"
            g.replicas[0].mode = "hang"
            replies = await asyncio.gather(*(g.embed(f"text {n}") for n in range(10)))
            assert {reply.body for reply in replies} == {b"[[1.0]]"}
            assert g.replicas[0].seen, "it had some of the requests"
            await asyncio.wait_for(g.replicas[0].left.wait(), LIMIT_S)
            assert g.states["r0"] == "suspect"
            text = (await g.request("GET", "/metrics")).body.decode()
            assert f"embedfleet_hedges_total {len(g.replicas[0].seen)}" in text

    run(go)


def test_a_replica_that_was_silent_serves_again_when_it_answers():
    async def go():
        async with gateway(2) as g:
            slow = g.replicas[0]
            slow.mode = slow.probe_mode = "hold"
            await asyncio.gather(*(g.embed(f"text {n}") for n in range(10)))
            await g.until(lambda: g.states["r0"] == "suspect" and slow.probes_held)
            slow.mode = slow.probe_mode = 200
            slow.answer(slow.probes_held.popleft())
            await g.until_active(2)

    run(go)


def test_a_silent_replica_that_answers_a_probe_with_429_is_not_ejected():
    async def go():
        async with gateway(2) as g:
            busy = g.replicas[0]
            busy.mode = "hold"
            busy.probe_mode = 429
            probes = g.app._registry["embedfleet_probes_total"]
            before = probes.value("r0", "good").value
            await asyncio.gather(*(g.embed(f"text {n}") for n in range(10)))
            await g.until(lambda: probes.value("r0", "good").value + probes.value("r0", "bad").value > before)
            assert probes.value("r0", "bad").value == 0
            assert g.states["r0"] in {"active", "suspect"}

    run(go)


def test_a_drained_replica_finishes_its_work_and_gets_nothing_until_it_is_undrained():
    async def go():
        async with gateway(2, dispatch=replace(DISPATCH, hedge=False)) as g:
            first = g.replicas[0]
            first.mode = "hold"
            waiting = [asyncio.create_task(g.embed(f"text {n}")) for n in range(4)]
            await first.arrived.wait()
            g.app.proxy.drain("r0")
            assert g.states["r0"] == "draining"
            had = len(g.app.proxy.dispatcher.replicas["r0"].chunks)
            await g.until(lambda: len(first.held) == had)  # all chunks that were on their way have arrived
            assert {reply.status for reply in await asyncio.gather(*(g.embed() for _ in range(20)))} == {200}
            assert len(first.seen) == had
            while first.held:
                first.answer(first.held.popleft())
            assert {reply.status for reply in await asyncio.gather(*waiting)} == {200}
            await g.until(lambda: g.states["r0"] == "drained")
            first.mode = 200
            g.app.proxy.undrain("r0")
            await g.until_active(2)
            await asyncio.gather(*(g.embed() for _ in range(20)))
            assert len(first.seen) > had

    run(go)
