"""The end of a server, as a client sees it that has just connected."""

import asyncio
import socket
from contextlib import suppress

import pytest

from embedfleet.http.server import Server

LIMIT_S = 20


@pytest.mark.parametrize("turns", range(6))
def test_a_client_that_connects_while_the_server_stops_is_not_forgotten(turns):
    """With asyncio, a connection that was accepted in the turn before the stop stayed open without anyone behind it."""

    async def go():
        server = Server(lambda exchange: exchange.respond(200, [], b""))
        await server.start()
        loop = asyncio.get_running_loop()
        with socket.socket() as client:
            client.setblocking(False)
            await loop.sock_connect(client, ("127.0.0.1", server.port))
            for _ in range(turns):
                await asyncio.sleep(0)
            await server.stop(0)
            async with asyncio.timeout(LIMIT_S):
                with suppress(ConnectionResetError):
                    assert await loop.sock_recv(client, 1) == b""

    asyncio.run(go())
