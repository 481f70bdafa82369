"""Connections return to the pool only if the next call can use them like new ones."""

import asyncio
import inspect
from contextlib import asynccontextmanager

import pytest

from embedfleet.gateway.upstream.call import Call
from embedfleet.gateway.upstream.connection_pool import ConnectionPool

pytestmark = pytest.mark.skipif(
    not inspect.isfunction(ConnectionPool.send), reason="a compiled `Call` is not derived from here"
)
LIMIT_S = 20
ASK = b"POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 2\r\n\r\nhi"


class Asked(Call):
    """A call that keeps its result, and pauses the reading of a streamed reply."""

    def __init__(self):
        self.ended = asyncio.get_running_loop().create_future()

    def on_reply(self, head, body, now):
        self.ended.set_result((head.status, len(body)))

    def on_begin(self, head, body):
        self.pause(True)
        asyncio.get_running_loop().call_soon(self.pause, False)

    def on_data(self, data):
        pass

    def on_end(self):
        self.ended.set_result("streamed")

    def on_error(self, error):
        self.ended.set_result(error)


@asynccontextmanager
async def pool(serve):
    async def talk(reader, writer):
        try:
            await serve(reader, writer)
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    made = ConnectionPool("r", url, hold_bytes=1000, timeout_s=60, on_doubt=lambda: None)
    made.trust()
    try:
        yield made
    finally:
        made.close()
        server.close()


async def ask(of, data=ASK):
    call = Asked()
    of.send(call, data, of.now(), is_head=False)
    async with asyncio.timeout(LIMIT_S):
        return await call.ended


async def answer(reader, writer, size, status=b"200 OK"):
    """Send one reply; a long one in a chunk, so that it cannot be received in one piece."""
    body = b"x" * size
    try:
        await reader.readuntil(b"\r\n\r\n")
        if size > 1000:
            framed = b"transfer-encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (size, body)
        else:
            framed = b"content-length: %d\r\n\r\n%b" % (size, body)
        writer.write(b"HTTP/1.1 %b\r\n%b" % (status, framed))
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


def test_a_connection_whose_reading_was_paused_at_the_end_reads_again():
    """In a former version its reading stayed paused: the next request hung, and a healthy replica was ejected."""

    async def serve(reader, writer):
        for size in (3000, 3, 3000, 3):
            await answer(reader, writer, size)
            await reader.readexactly(2)

    async def go():
        async with pool(serve) as made:
            assert [await ask(made) for _ in range(4)] == ["streamed", (200, 3), "streamed", (200, 3)]

    asyncio.run(go())


@pytest.mark.parametrize("size", [3, 3000])
def test_a_connection_on_which_a_request_is_still_being_sent_is_not_used_again(size):
    """A replica may refuse a request before it has read all of it; the next request would wait behind the rest."""

    over = asyncio.Event()

    async def serve(reader, writer):
        await answer(reader, writer, size, b"413 Too Large")
        await over.wait()

    async def go():
        async with pool(serve) as made:
            large = b"POST / HTTP/1.1\r\ncontent-length: 50000000\r\n\r\n" + b"x" * 50_000_000
            assert [await ask(made, large) for _ in range(3)] == [(413, 3) if size == 3 else "streamed"] * 3
            over.set()
            over.set()

    asyncio.run(go())


def test_the_limit_of_a_held_body_counts_its_memory_and_not_only_its_bytes():
    """In a former version a body in chunks of two bytes took twenty times the allowed memory."""

    async def serve(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + b"2\r\nxx\r\n" * 400 + b"0\r\n\r\n")
        await reader.read()

    async def go():
        async with pool(serve) as made:
            assert await ask(made) == "streamed"

    asyncio.run(go())
