"""Clients that break off, read slowly, or close their sending side: their cost, and their answers."""

import asyncio
import gc
import socket
import tracemalloc
from pathlib import Path

import pytest

from embedfleet import http
from embedfleet.http.exchange import Exchange
from embedfleet.http.framing import Chunked
from embedfleet.http.message import Limits
from embedfleet.http.unsent_bytes import unsent_bytes
from tests.services.http import WAIT_S, run, serving, talk
from tests.services.wire import Turns, Wire

MB = 1_000_000
LARGE = Limits(body_bytes=20 * MB)
POST = b"POST / HTTP/1.1\r\nhost: h\r\n"
SENT = {
    "by length": POST + b"content-length: 8000000\r\n\r\n" + b"x" * 5 * MB,
    "in chunks": POST + b"transfer-encoding: chunked\r\n\r\n" + b"186a0\r\n%b\r\n" % (b"x" * 100_000) * 50,
    "with an upgrade": POST + b"connection: upgrade\r\nupgrade: h2c\r\ncontent-length: 8000000\r\n\r\n" + b"x" * 5 * MB,
    "refused": POST + b"content-length: 80000000\r\n\r\n" + b"x" * 5 * MB,
}


def held_by_the_server() -> int:
    """Count the traced bytes that the server's code holds; other threads of the process allocate as well.

    Allocations of compiled code are traced to the Python code that called it: a test or the event loop.
    """
    folders = [Path(http.__file__).parent, Path(asyncio.__file__).parent, Path(__file__).parents[2]]
    ours = [tracemalloc.Filter(True, f"{folder}/*") for folder in folders]
    return sum(trace.size for trace in tracemalloc.take_snapshot().filter_traces(ours).traces)


@pytest.mark.parametrize("data", SENT.values(), ids=SENT)
def test_an_upload_that_breaks_off_leaves_nothing_to_the_collector(data):
    async def go():
        async with serving(limits=LARGE) as server:
            gc.disable()
            tracemalloc.start()
            try:
                for _ in range(5):
                    _, writer = await asyncio.open_connection("127.0.0.1", server.port)
                    writer.write(data)
                    await writer.drain()
                    writer.transport.abort()
                    while server.clients:
                        await asyncio.sleep(0)
                    del writer
                held = held_by_the_server()
            finally:
                tracemalloc.stop()
                gc.enable()
        assert held < MB

    run(go)


@pytest.mark.parametrize("piece", [1, 7, 65_536])
def test_a_body_in_tiny_chunks_and_segments_costs_little_more_than_its_payload(piece):
    payload = 40_000
    data = POST + b"transfer-encoding: chunked\r\n\r\n" + b"2\r\nab\r\n" * (payload // 2)

    async def go():
        async with serving(limits=LARGE) as server:
            loop = server.loop = Turns()
            wire = Wire(loop, server._connect())
            tracemalloc.start()
            try:
                for at in range(0, len(data), piece):
                    wire.send(data[at : at + piece])
                    loop.run()
                held = held_by_the_server()
            finally:
                tracemalloc.stop()
            assert len(server.clients) == 1
        assert payload <= held < 3 * payload  # some of it is of threads of other tests

    run(go)


def test_a_body_in_tiny_chunks_gives_other_clients_their_turn():
    framing = Chunked(LARGE)
    unread = bytearray(b"1\r\na\r\n" * 40_000)
    assert framing.take(unread) is None
    assert not framing.hungry
    assert len(unread) > 200_000


def test_a_client_that_reads_slowly_but_steadily_gets_all_and_one_that_stops_is_dropped():
    async def go():
        size = 30 * MB
        async with serving(lambda exchange: exchange.respond(200, [], b"x" * size)) as server:
            client = socket.socket()
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
            client.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(client, ("127.0.0.1", server.port))
            await loop.sock_sendall(client, b"GET / HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n")
            while not any(connection._write_paused for connection in server.clients):
                await asyncio.sleep(0)
            connection = next(iter(server.clients))
            for _ in range(20):  # too little drains for the transport to resume writing, and each deadline passes
                left = unsent_bytes(connection._transport)
                while unsent_bytes(connection._transport) >= left:
                    await loop.sock_recv(client, 65_536)
                connection.expire()
                assert connection.deadline > 0
            while (left := unsent_bytes(connection._transport)) and left != await _later(connection):
                pass  # data still moves between the kernel's buffers
            connection.expire()
            connection.expire()
            while server.clients:
                await asyncio.sleep(0)
            client.close()

    async def _later(connection):
        for _ in range(100):
            await asyncio.sleep(0)
        return unsent_bytes(connection._transport)

    run(go)


@pytest.mark.parametrize("count", [1, 3])
def test_a_half_closed_client_gets_its_answers(count):
    async def go():
        exchanges: asyncio.Queue[Exchange] = asyncio.Queue()
        async with serving(exchanges.put_nowait) as server:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write((POST + b"content-length: 2\r\n\r\nhi") * count + POST)
            writer.write_eof()
            interim = b""
            for _ in range(count):
                exchange = await exchanges.get()
                interim += await reader.readuntil(b"\r\n\r\n")  # the server checks whether the client is still there
                exchange.respond(200, [], exchange.body)
            answer = interim + await asyncio.wait_for(reader.read(-1), WAIT_S)
            writer.close()
        final = answer.replace(b"HTTP/1.1 100 Continue\r\n\r\n", b"")
        assert final.count(b"HTTP/1.1 200 OK") == final.count(b"\r\n\r\nhi") == count

    run(go)


def test_a_half_closed_client_of_http_1_0_counts_as_gone():
    async def go():
        gone = asyncio.Event()

        def never(exchange: Exchange) -> None:
            exchange.on_gone = gone.set

        async with serving(never) as server:
            answer = asyncio.create_task(_half_closed(server, b"GET / HTTP/1.0\r\n\r\n"))
            await asyncio.wait_for(gone.wait(), WAIT_S)
            assert await answer == b""

    run(go)


def test_a_client_that_half_closes_within_a_request_is_closed():
    async def go():
        async with serving() as server:
            assert await _half_closed(server, POST + b"content-length: 5\r\n\r\nabc") == b""

    run(go)


async def _half_closed(server, data: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(data)
    writer.write_eof()
    try:
        return await asyncio.wait_for(reader.read(-1), WAIT_S)
    finally:
        writer.close()


def test_bytes_after_a_request_with_close_are_dropped_silently(caplog):
    async def go():
        async with serving() as server:
            one = b"GET /a HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n"
            answer = await talk(server, one + b"GET /b HTTP/1.1\r\nhost: h\r\n\r\n" * 20 + b"nonsense\r\n\r\n")
        assert answer.count(b"HTTP/1.1") == 1
        assert caplog.text == ""

    run(go)


def test_requests_are_not_answered_ahead_of_a_client_that_does_not_read():
    async def go():
        server_seen: list[bytes] = []

        def large(exchange: Exchange) -> None:
            server_seen.append(exchange.target)
            exchange.respond(200, [], b"x" * 200_000)

        async with serving(large) as server:
            loop = server.loop = Turns()
            wire = Wire(loop, server._connect())
            wire.send(b"GET / HTTP/1.1\r\nhost: h\r\n\r\n" * 1000)
            wire.send(b"GET / HTTP/1.1\r\nhost: h\r\n\r\n" * 5000)
            loop.run()
            assert len(server_seen) == 1
            assert wire.unread < 201_000
            wire.send(b"y" * MB)  # waits in the kernel of the client
            connection = next(iter(server.clients))
            assert len(connection._unread) < 200_000
            for _ in range(3):
                wire.read()
                loop.run()
            assert len(server_seen) == 4

    run(go)
