"""A standstill of the gateway does not count as silence of its replicas."""

import asyncio
import threading
import time
from dataclasses import replace

import orjson
import uvloop

from embedfleet.gateway.app import App
from tests.services.gateway import DISPATCH, LIMIT_S, SETTINGS, Gateway
from tests.services.replica import PROBE, FakeReplica

STILL_S = 1.5
TIMEOUT_S = 1.0


class Slow(FakeReplica):
    """A replica that answers after a moment."""

    probes = 0  # number of probes that wait for their answers

    def behave(self, exchange, mode):
        is_probe = orjson.loads(exchange.body) == PROBE
        self.probes += is_probe
        asyncio.get_running_loop().call_later(0.3, self.answer_at_last, exchange, is_probe)

    def answer_at_last(self, exchange, is_probe):
        self.probes -= is_probe
        self.answer(exchange)


class Elsewhere(threading.Thread):
    """Replicas in another thread, which answer while the gateway stands still."""

    def __init__(self):
        super().__init__(daemon=True)
        self.replicas = [Slow(), Slow()]
        self.started = threading.Event()

    def run(self):
        asyncio.run(self.live())

    async def live(self):
        self.loop, self.over = asyncio.get_running_loop(), asyncio.Event()
        for made in self.replicas:
            await made.start()
        self.started.set()
        await self.over.wait()
        for made in self.replicas:
            await made.kill()
        while any(made.server.clients for made in self.replicas):  # an aborted connection is closed one turn later
            await asyncio.sleep(0)

    def end(self):
        self.loop.call_soon_threadsafe(self.over.set)
        self.join()


def test_replies_that_arrived_meanwhile_are_read_before_replicas_are_judged():
    """A former version ejected two healthy replicas ("no answer in 3 s") after the gateway was stopped for 6 s."""
    elsewhere = Elsewhere()
    elsewhere.start()
    elsewhere.started.wait()

    async def go():
        endpoints = tuple(made.endpoint(f"r{number}") for number, made in enumerate(elsewhere.replicas))
        dispatch = replace(DISPATCH, hedge=False, probe_interval_s=0.05)
        limits = {"response_timeout_s": TIMEOUT_S, "probe_timeout_s": TIMEOUT_S}
        app = App(replace(SETTINGS, replicas=endpoints, dispatch=dispatch, **limits))
        await app.server.start()
        app.proxy.start()
        g = Gateway(app, [])
        await g.until_active(2)
        asked = [asyncio.create_task(g.embed(f"text {n}")) for n in range(4)]
        dispatcher = app.proxy.dispatcher
        await g.until(lambda: dispatcher.under_way and any(made.probes for made in elsewhere.replicas))
        time.sleep(STILL_S)  # noqa: ASYNC251 - nothing is read meanwhile
        assert [reply.status for reply in await asyncio.gather(*asked)] == [200] * 4
        text = (await g.request("GET", "/metrics")).body.decode()
        assert "embedfleet_replica_failures_total{" not in text
        assert 'outcome="bad"' not in text
        assert 'embedfleet_probes_total{replica="r0",outcome="good"}' in text
        await app.server.stop(0)
        app.proxy.stop()

    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(asyncio.wait_for(go(), LIMIT_S))
    finally:
        elsewhere.end()
