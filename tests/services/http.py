"""A server over real sockets, and clients that send bytes."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from embedfleet.http.exchange import Exchange
from embedfleet.http.message import TEXT, Limits
from embedfleet.http.server import Handler, Server

WAIT_S = 10.0


def echo(exchange: Exchange) -> None:
    """Answer a request with its own contents."""
    exchange.respond(200, [TEXT], b"%b %b %b" % (exchange.method, exchange.path.encode(), exchange.body))


@asynccontextmanager
async def serving(handler: Handler = echo, limits: Limits | None = None) -> AsyncIterator[Server]:
    server = Server(handler, limits)
    await server.start()
    try:
        yield server
    finally:
        await server.stop(0)


async def talk(server: Server, data: bytes) -> bytes:
    """Send all bytes and read until the server closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    try:
        writer.write(data)
        return await asyncio.wait_for(reader.read(-1), WAIT_S)
    finally:
        writer.close()


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(60):
            await test()

    asyncio.run(bounded())


def body_of(answer: bytes) -> bytes:
    return answer.partition(b"\r\n\r\n")[2]
