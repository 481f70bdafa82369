"""One request and its reply, over real sockets."""

import asyncio

import pytest

from embedfleet.errors import Malformed
from embedfleet.http.client import Reply, fetch
from tests.services.http import WAIT_S, run, serving


@pytest.mark.parametrize(("method", "body"), [("GET", b"GET /a "), ("POST", b"POST /a "), ("HEAD", b"")])
def test_a_reply_is_whole_with_or_without_a_body(method, body):
    async def go():
        async with serving() as server:
            reply = await fetch(f"http://127.0.0.1:{server.port}/a", method=method, timeout_s=WAIT_S)
        assert (reply.status, reply.body) == (200, body)
        assert reply.headers["content-length"] == str(len(f"{method} /a "))

    run(go)


async def answered_with(data: bytes, **options) -> Reply:
    """Return the reply that `fetch` reads from a server that sends the given bytes and nothing more."""

    async def serve(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(data)
        await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        return await fetch(url, timeout_s=WAIT_S, **options)
    finally:
        server.close()


LINE = b"HTTP/1.1 200 OK\r\n"
CHUNKED = LINE + b"transfer-encoding: chunked\r\n\r\n"
ENDLESS = {
    "a status line": b"HTTP/1.1 200 " + b"O" * 300_000,
    "the value of a field": LINE + b"x-a: " + b"x" * 300_000,
    "fields": LINE + b"x-a: b\r\n" * 300,
    "interim replies": b"HTTP/1.1 103 Early Hints\r\n\r\n" * 101,
    "a trailer": CHUNKED + b"1\r\nx\r\n0\r\nx-a: " + b"x" * 600_000,
    "a body in chunks": CHUNKED + b"400\r\n%b\r\n" % (b"x" * 1024) * 20,
    "a body until the connection ends": LINE + b"\r\n" + b"x" * 20_000,
    "a body with a length": LINE + b"content-length: 20000\r\n\r\n" + b"x" * 20_000,
    "a body with a length, of which some came": LINE + b"content-length: 99999999\r\n\r\n" + b"x" * 20_000,
}


@pytest.mark.parametrize("data", ENDLESS.values(), ids=ENDLESS)
def test_a_reply_without_end_is_malformed(data):
    async def go():
        with pytest.raises(Malformed, match="over "):
            await answered_with(data, most_bytes=10_000)

    run(go)


def test_a_body_of_the_largest_allowed_size_is_read():
    async def go():
        body = b"x" * 10_000
        reply = await answered_with(LINE + b"content-length: 10000\r\n\r\n" + body, most_bytes=10_000)
        assert reply == Reply(200, {"content-length": "10000"}, body)

    run(go)


def test_interim_replies_are_skipped():
    async def go():
        hints = b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"
        reply = await answered_with(hints * 2 + LINE + b"content-length: 2\r\n\r\nhi")
        assert reply == Reply(200, {"content-length": "2"}, b"hi")

    run(go)
