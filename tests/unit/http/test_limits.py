"""Requests that are too large, too slow or not HTTP, and clients that do not read."""

import asyncio
import socket

import pytest

from embedfleet.http.message import Limits
from tests.services.http import body_of, run, serving, talk


def test_a_body_over_the_limit_is_refused_before_it_is_sent():
    async def go():
        async with serving(limits=Limits(body_bytes=10)) as server:
            answer = await talk(
                server, b"POST / HTTP/1.1\r\nhost: h\r\nexpect: 100-continue\r\ncontent-length: 11\r\n\r\n"
            )
        assert answer.startswith(b"HTTP/1.1 413 ")
        assert b"100 Continue" not in answer
        assert body_of(answer) == b"Failed to buffer the request body: length limit exceeded"

    run(go)


def test_a_client_that_keeps_sending_a_refused_body_still_reads_the_answer():
    async def go():
        async with serving(limits=Limits(body_bytes=10)) as server:
            answer = await talk(
                server, b"POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 5000000\r\n\r\n" + b"x" * 5_000_000
            )
        assert answer.startswith(b"HTTP/1.1 413 ")

    run(go)


def test_a_chunked_body_over_the_limit_is_refused():
    async def go():
        async with serving(limits=Limits(body_bytes=10)) as server:
            chunk = b"8\r\n12345678\r\n"
            answer = await talk(
                server, b"POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n" + chunk * 3 + b"0\r\n\r\n"
            )
        assert answer.startswith(b"HTTP/1.1 413 ")

    run(go)


@pytest.mark.parametrize("padding", [400, 400_000])
def test_a_head_over_the_limit_is_refused(padding):
    async def go():
        async with serving(limits=Limits(header_bytes=300)) as server:
            answer = await talk(server, b"GET / HTTP/1.1\r\nhost: h\r\nx: " + b"y" * padding + b"\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 431 ")

    run(go)


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"POST / HTTP/1.1\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello",
        b"POST / HTTP/1.1\r\ncontent-length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
    ],
)
def test_what_is_not_http_gets_400_and_a_close(data):
    async def go():
        async with serving() as server:
            answer = await talk(server, data)
        assert answer.startswith(b"HTTP/1.1 400 ")

    run(go)


def test_half_a_head_and_silence_gets_408_and_a_close():
    async def go():
        async with serving(limits=Limits(header_timeout_s=0.01)) as server:
            answer = await talk(server, b"POST / HTTP/1.1\r\nhost:")
        assert answer.startswith(b"HTTP/1.1 408 ")

    run(go)


def test_half_a_body_and_silence_gets_408_and_a_close():
    async def go():
        async with serving(limits=Limits(body_timeout_s=0.01)) as server:
            answer = await talk(server, b"POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 9\r\n\r\nhalf")
        assert answer.startswith(b"HTTP/1.1 408 ")

    run(go)


def test_an_idle_connection_is_closed_without_an_answer():
    async def go():
        async with serving(limits=Limits(idle_timeout_s=0.01, header_timeout_s=0.01)) as server:
            assert await talk(server, b"") == b""
            answer = await talk(server, b"GET / HTTP/1.1\r\nhost: h\r\n\r\n")
        assert answer.count(b"HTTP/1.1") == 1
        assert answer.startswith(b"HTTP/1.1 200 ")

    run(go)


def test_a_client_that_does_not_read_its_answer_is_dropped():
    async def go():
        async with serving(
            lambda exchange: exchange.respond(200, [], b"x" * 50_000_000), Limits(write_timeout_s=0.01)
        ) as server:
            sock = socket.create_connection(("127.0.0.1", server.port))
            sock.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_sendall(sock, b"GET / HTTP/1.1\r\nhost: h\r\n\r\n")
            while server.connections == 0:
                await asyncio.sleep(0)
            while server.connections:
                await asyncio.sleep(0)
            sock.close()

    run(go)


def test_one_connection_over_the_limit_is_turned_away():
    async def go():
        async with serving(limits=Limits(connections=1)) as server:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(b"GET / HTTP/1.1\r\nhost: h\r\n\r\n")
            await reader.readuntil(b"GET / ")
            assert (await talk(server, b"")).startswith(b"HTTP/1.1 503 ")
            writer.close()

    run(go)
