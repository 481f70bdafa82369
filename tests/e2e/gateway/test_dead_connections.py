"""A silently dead connection is not mistaken for a silent replica."""

import asyncio
import gc
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from embedfleet.types import Endpoint
from tests.services.gateway import DISPATCH, LIMIT_S, gateway, run

RESTED = replace(DISPATCH, rested_s=0.0)
LIVELY = replace(DISPATCH, rested_s=1e9)
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # see `Relay.stop`
TURNS = 20  # turns of the event loop, in which connections that were accepted last begin


class Relay:
    """A relay in front of a replica that drops all bytes of forgotten connections without closing them."""

    def __init__(self, to):
        self.to = to
        self.known = set()
        self.links = set()
        self.open = []  # transports of both ends of each connection

    async def start(self):
        self.server = await asyncio.start_server(self.talk, "127.0.0.1", 0)
        port = self.server.sockets[0].getsockname()[1]
        return f"http://127.0.0.1:{port}"

    def forget(self):
        self.known.clear()

    async def talk(self, reader, writer):
        me = object()
        self.known.add(me)
        self.links.add(asyncio.current_task())
        there, back = await asyncio.open_connection("127.0.0.1", self.to.server.port)
        self.open += [back.transport, writer.transport]
        try:
            async with asyncio.TaskGroup() as both:
                for source, sink in ((reader, back), (there, writer)):
                    both.create_task(self.copy(me, source, sink))
        finally:
            back.transport.abort()
            writer.transport.abort()

    async def stop(self):
        """Close open connections; one that is just being opened may stay open, which is a flaw of this relay only."""
        self.server.close()
        for _ in range(TURNS):
            for transport in self.open:
                transport.abort()
            await asyncio.sleep(0)
        for link in self.links:
            link.cancel()
        await asyncio.gather(*self.links, return_exceptions=True)
        gc.collect()  # here, so that its warnings do not fail a later test

    async def copy(self, me, reader, writer):
        try:
            while data := await reader.read(65536):
                if me in self.known:
                    writer.write(data)
            writer.transport.abort()
        except ConnectionError:
            writer.transport.abort()


@asynccontextmanager
async def behind_relays(count, dispatch, **settings):
    """Run a gateway that reaches its replicas through relays."""
    async with gateway(count, dispatch=dispatch, coalesce=False, **settings) as g:
        relays = [Relay(made) for made in g.replicas]
        urls = [await relay.start() for relay in relays]
        g.app.proxy.set_members(tuple(Endpoint(f"by{n}", url) for n, url in enumerate(urls)))
        await g.until(lambda: list(g.states.values()) == ["active"] * count)
        try:
            yield g, relays
        finally:
            g.app.proxy.stop()
            for relay in relays:
                await relay.stop()


async def six(g, inputs="text"):
    async with asyncio.timeout(LIMIT_S):
        return [reply.status for reply in await asyncio.gather(*(g.embed(inputs) for _ in range(6)))]


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("texts", [1, 100])
def test_a_request_on_a_silent_connection_that_was_idle_is_sent_on_a_new_one(count, texts):
    """In a former version six requests hung until their clients gave up at 30 s, while a seventh took 46 ms."""
    inputs = [f"text {n}" for n in range(texts)]

    async def go():
        async with behind_relays(count, RESTED) as (g, relays):
            assert await six(g, inputs) == [200] * 6
            for relay in relays:
                relay.forget()
            assert await six(g, inputs) == [200] * 6
            assert await six(g, inputs) == [200] * 6
            assert "ejected" not in g.states.values()
            await g.until(lambda: all(not pool.is_busy for pool in g.app.proxy._connections.by_name.values()))

    run(go)


def test_a_connection_that_dies_during_a_request_is_noticed_while_others_work():
    async def go():
        async with behind_relays(1, LIVELY) as (g, (relay,)):
            (replica,) = g.replicas
            replica.mode = "hold"
            replica.arrived.clear()
            hangs = asyncio.create_task(g.embed("hangs"))
            await replica.arrived.wait()
            relay.forget()
            replica.mode = 200
            async with asyncio.timeout(LIMIT_S):
                while not hangs.done():
                    assert (await g.embed("goes on")).status == 200
            assert (await hangs).status == 200

    run(go)


def test_a_slow_replica_gets_a_request_once():
    """If a new or recently used connection is silent, the replica is slow and the connection is not dead."""

    async def go():
        async with behind_relays(1, LIVELY) as (g, _):
            (replica,) = g.replicas
            replica.mode = "hold"
            asked = asyncio.create_task(g.embed("slow"))
            await g.until(lambda: replica.held)
            proxy = g.app.proxy
            proxy._ask_again(proxy.now() + 100)
            assert proxy.counters._registry["embedfleet_hedges_total"].value().value == 0
            replica.answer(replica.held.popleft())
            assert (await asked).status == 200
            assert len(replica.seen) == 1

    run(go)


def test_the_first_of_two_connections_with_a_reply_counts():
    async def go():
        async with behind_relays(1, RESTED) as (g, _):
            (replica,) = g.replicas
            assert (await g.embed()).status == 200
            replica.mode = "hold"
            replica.seen.clear()
            asked = asyncio.create_task(g.embed("slow"))
            await g.until(lambda: len(replica.held) == 2)
            replica.answer(replica.held.popleft())
            assert (await asked).status == 200
            await asyncio.wait_for(replica.left.wait(), LIMIT_S)
            replica.mode = 200
            assert (await g.embed()).status == 200
            assert g.app.proxy.dispatcher.under_way == 0

    run(go)
