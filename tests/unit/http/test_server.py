"""The server over real sockets: framing, order, answers, and its end."""

import asyncio
import itertools
import socket
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedfleet.http.exchange import Exchange
from embedfleet.http.message import TEXT
from embedfleet.http.server import Server
from tests.services.http import WAIT_S, body_of, echo, run, serving, talk


def test_a_request_is_answered_with_its_length_and_date():
    async def go():
        async with serving() as server:
            answer = await talk(
                server, b"POST /a%20b?x=1 HTTP/1.1\r\nhost: h\r\ncontent-length: 2\r\nconnection: close\r\n\r\nhi"
            )
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 OK\r\n")
        assert b"content-length: 12" in head
        assert b"date: " in head
        assert body == b"POST /a b hi"

    run(go)


@given(
    bodies=st.lists(st.binary(max_size=50), min_size=1, max_size=6),
    chunked=st.booleans(),
    cuts=st.lists(st.integers(1, 400)),
)
@settings(max_examples=30, deadline=None)
def test_pipelined_requests_are_answered_in_order_however_their_bytes_arrive(bodies, chunked, cuts):
    def request(body: bytes, last: bool) -> bytes:
        close = b"connection: close\r\n" if last else b""
        if chunked:
            half = len(body) // 2
            parts = [part for part in (body[:half], body[half:]) if part]
            framed = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
            return b"POST /p HTTP/1.1\r\nhost: h\r\n%btransfer-encoding: chunked\r\n\r\n%b" % (close, framed)
        return b"POST /p HTTP/1.1\r\nhost: h\r\n%bcontent-length: %d\r\n\r\n%b" % (close, len(body), body)

    data = b"".join(request(body, index == len(bodies) - 1) for index, body in enumerate(bodies))
    edges = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})

    async def go():
        seen: list[bytes] = []

        def later(exchange: Exchange) -> None:
            seen.append(exchange.body)
            asyncio.get_running_loop().call_soon(exchange.respond, 200, [], exchange.body)

        async with serving(later) as server:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            for start, end in itertools.pairwise(edges):
                writer.write(data[start:end])
                await writer.drain()
            answer = await asyncio.wait_for(reader.read(-1), WAIT_S)
            writer.close()
        assert seen == bodies
        assert answer.count(b"HTTP/1.1 200 OK") == len(bodies)
        assert answer.endswith(bodies[-1])

    run(go)


def test_a_thousand_pipelined_requests_do_not_exhaust_the_stack():
    async def go():
        one = b"GET / HTTP/1.1\r\nhost: h\r\n\r\n"
        async with serving() as server:
            answer = await talk(server, one * 999 + one.replace(b"host: h", b"host: h\r\nconnection: close"))
        assert answer.count(b"HTTP/1.1 200 OK") == 1000

    run(go)


def test_expect_continue_is_answered_before_the_body_is_sent():
    async def go():
        async with serving() as server:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(b"POST / HTTP/1.1\r\nhost: h\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n")
            interim = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), WAIT_S)
            assert interim == b"HTTP/1.1 100 Continue\r\n\r\n"
            writer.write(b"ok")
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), WAIT_S)
            assert head.startswith(b"HTTP/1.1 200")
            assert await reader.readexactly(9) == b"POST / ok"
            writer.close()

    run(go)


def test_requests_before_a_malformed_one_are_still_answered():
    async def go():
        def later(exchange: Exchange) -> None:
            asyncio.get_running_loop().call_soon(echo, exchange)

        async with serving(later) as server:
            answer = await talk(server, b"GET /one HTTP/1.1\r\nhost: h\r\n\r\nnonsense\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert b"GET /one " in answer
        assert b"HTTP/1.1 400 " in answer

    run(go)


def test_a_leaving_client_is_noticed_while_its_request_is_under_way():
    async def go():
        gone = asyncio.Event()
        begun = asyncio.Event()

        def never(exchange: Exchange) -> None:
            exchange.on_gone = gone.set
            begun.set()

        async with serving(never) as server:
            _, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(b"GET / HTTP/1.1\r\nhost: h\r\n\r\n")
            await begun.wait()
            writer.close()
            await asyncio.wait_for(gone.wait(), WAIT_S)

    run(go)


def test_a_reset_at_the_end_of_an_answer_is_not_logged(caplog):
    async def go():
        exchanges: asyncio.Queue[Exchange] = asyncio.Queue()
        async with serving(exchanges.put_nowait) as server:
            client = socket.create_connection(("127.0.0.1", server.port))
            client.sendall(b"GET / HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n")
            exchange = await exchanges.get()
            exchange.start(200, [TEXT], 2)
            exchange.write(b"ok")
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.close()  # a reset, which the event loop has not reported yet
            exchange.finish()
            while server.clients:
                await asyncio.sleep(0)
        assert caplog.text == ""

    run(go)


def test_a_handler_that_raises_costs_one_500(caplog):
    async def go():
        def broken(exchange: Exchange) -> None:
            if exchange.path == "/broken":
                raise RuntimeError("broken")
            echo(exchange)

        async with serving(broken) as server:
            answer = await talk(
                server,
                b"GET /broken HTTP/1.1\r\nhost: h\r\n\r\nGET /fine HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n",
            )
        assert answer.startswith(b"HTTP/1.1 500 ")
        assert answer.endswith(b"GET /fine ")
        assert "RuntimeError" in caplog.text

    run(go)


def test_a_streamed_answer_is_chunked_for_http_1_1_and_closed_for_http_1_0():
    async def go():
        def stream(exchange: Exchange) -> None:
            exchange.start(200, [TEXT], None)
            exchange.write(b"one")
            exchange.write(b"two")
            exchange.finish()

        async with serving(stream) as server:
            new = await talk(server, b"GET / HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n")
            old = await talk(server, b"GET / HTTP/1.0\r\n\r\n")
        assert body_of(new) == b"3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n"
        assert b"transfer-encoding" not in old
        assert body_of(old) == b"onetwo"

    run(go)


def test_a_head_request_gets_the_length_and_no_body():
    async def go():
        async with serving() as server:
            answer = await talk(server, b"HEAD /x HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n")
        assert b"content-length: 8\r\n" in answer
        assert body_of(answer) == b""

    run(go)


def test_http_1_0_keeps_the_connection_only_when_asked():
    async def go():
        async with serving() as server:
            assert b"keep-alive" not in await talk(server, b"GET / HTTP/1.0\r\n\r\n")
            answer = await talk(server, b"GET /1 HTTP/1.0\r\nconnection: keep-alive\r\n\r\nGET /2 HTTP/1.0\r\n\r\n")
        assert answer.count(b"HTTP/1.1 200") == 2
        assert b"connection: keep-alive\r\n" in answer

    run(go)


def test_an_upgrade_is_answered_as_plain_http():
    async def go():
        async with serving() as server:
            answer = await talk(
                server, b"GET /up HTTP/1.1\r\nhost: h\r\nconnection: upgrade, close\r\nupgrade: h2c\r\n\r\n"
            )
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert answer.endswith(b"GET /up ")

    run(go)


def test_stop_lets_the_exchange_under_way_end_and_says_close():
    async def go():
        held: list[Exchange] = []
        begun = asyncio.Event()

        def hold(exchange: Exchange) -> None:
            held.append(exchange)
            begun.set()

        server = Server(hold)
        await server.start()
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"GET / HTTP/1.1\r\nhost: h\r\n\r\n")
        await begun.wait()
        stopping = asyncio.create_task(server.stop(WAIT_S))
        await asyncio.sleep(0)
        assert not stopping.done()
        held[0].respond(200, [], b"done")
        await stopping
        answer = await asyncio.wait_for(reader.read(-1), WAIT_S)
        assert b"connection: close" in answer
        assert answer.endswith(b"done")
        writer.close()

    run(go)


def test_a_port_in_use_is_named():
    async def go():
        async with serving() as server:
            with pytest.raises(OSError, match=f"{server.port}: address already in use"):
                await Server(echo).start(port=server.port)

    run(go)


def test_a_unix_socket_left_by_a_dead_server_is_taken_over(tmp_path):
    path = str(tmp_path / "s")

    async def go():
        left = socket.socket(socket.AF_UNIX)
        left.bind(path)
        left.close()
        server = Server(echo)
        await server.start(path=path)
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(b"GET /u HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n")
        assert (await reader.read(-1)).endswith(b"GET /u ")
        writer.close()
        await server.stop(0)

    run(go)
