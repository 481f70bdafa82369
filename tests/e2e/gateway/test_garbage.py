"""Finished requests are freed at once and leave nothing for the garbage collector, which would delay others."""

import asyncio
import gc
import socket
import struct

import pytest

from embedfleet.gateway.dispatch.request import Chunk, Handle
from embedfleet.gateway.requests.attempt import Sending
from embedfleet.gateway.upstream.call import Call
from embedfleet.http.connection import Connection
from embedfleet.http.exchange import Exchange
from tests.e2e.gateway.test_coalescing import spread_out, together
from tests.services.gateway import gateway, run


@pytest.fixture
def by_hand():
    """Let the garbage collector run only on request."""
    gc.collect()
    gc.disable()
    yield
    gc.set_debug(0)
    gc.garbage.clear()
    gc.enable()


def cycles():
    """Return the types of the objects of requests that only the collector would free."""
    gc.garbage.clear()
    gc.set_debug(gc.DEBUG_SAVEALL)
    gc.collect()
    kinds = Chunk | Handle | Sending | Call | Exchange | Connection
    return {type(found).__qualname__ for found in gc.garbage if isinstance(found, kinds)}


@pytest.mark.parametrize("coalesce", [False, True])
@pytest.mark.usefixtures("by_hand")
def test_requests_leave_nothing_to_the_collector(coalesce):
    async def go():
        async with gateway(2, coalesce=coalesce) as g:
            spread_out(g)
            answers = await together(g, [f"text {n}" for n in range(20)])
            assert [status for status, _, _ in answers] == [200] * 20
            await g.until(lambda: not g.app.server.connections)
            assert cycles() == set()

    run(go)


@pytest.mark.usefixtures("by_hand")
def test_split_requests_leave_nothing_to_the_collector():
    async def go():
        async with gateway(2) as g:
            replies = await asyncio.gather(*(g.embed(["a text"] * 100) for _ in range(3)))
            assert [reply.status for reply in replies] == [200] * 3
            await g.until(lambda: not g.app.server.connections)
            assert cycles() == set()

    run(go)


@pytest.mark.usefixtures("by_hand")
def test_refused_requests_leave_nothing_to_the_collector():
    async def go():
        async with gateway(1) as g:
            replies = [await g.embed(inputs) for inputs in (["a"] * 5000, [[]] * 40_000)]
            assert [reply.status for reply in replies] == [422] * 2
            await g.until(lambda: not g.app.server.connections)
            assert cycles() == set()

    run(go)


def head(length: int, *lines: bytes) -> bytes:
    return b"\r\n".join([b"POST /embed HTTP/1.1", b"host: h", b"content-length: %d" % length, *lines, b"", b""])


BODY = b'{"inputs":["a","b"]}'
LEAVING = {
    "in a head": b"POST /embed HTTP/1.1\r\nhost:",
    "in a body": head(1000) + b"x" * 500,
    "in a chunk": b"POST /embed HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\nff\r\nabc",
    "refused": head(10**9) + b"x" * 500,
    "while it waits for its answer": head(len(BODY)) + BODY,
    "with more behind it": (head(len(BODY)) + BODY) * 3,
    "with an upgrade": head(len(BODY), b"connection: upgrade", b"upgrade: h2c") + BODY[:5],
}


@pytest.mark.parametrize("data", LEAVING.values(), ids=LEAVING)
@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.usefixtures("by_hand")
def test_clients_that_leave_leave_nothing_to_the_collector(data, reset):
    async def go():
        async with gateway(1) as g:
            g.replicas[0].mode = "hold"
            _, writer = await asyncio.open_connection("127.0.0.1", g.port)
            writer.write(data)
            waits = data.count(BODY)
            await g.until(lambda: g.app.server.connections and (not waits or g.app.proxy.dispatcher.under_way))
            if reset:
                writer.transport.get_extra_info("socket").setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
                )
            writer.transport.abort()
            await g.until(lambda: not g.app.server.connections and not g.app.proxy.dispatcher.under_way)
            g.replicas[0].held.clear()
            g.replicas[0].seen.clear()
            del writer
            assert cycles() == set()

    run(go)


@pytest.mark.usefixtures("by_hand")
def test_a_client_that_leaves_a_streamed_reply_leaves_nothing_to_the_collector():
    async def go():
        async with gateway(1, hold_bytes=300_000) as g:
            g.replicas[0].mode = "huge"
            reader, writer = await asyncio.open_connection("127.0.0.1", g.port, limit=1000)
            writer.write(head(len(BODY)) + BODY)
            await reader.readexactly(1000)
            writer.transport.abort()
            await g.until(lambda: not g.app.server.connections and not g.app.proxy.dispatcher.under_way)
            del reader, writer
            assert cycles() == set()

    run(go)
