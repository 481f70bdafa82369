"""A head that is recognised by its bytes has the same meaning as if it were parsed, for requests and for replies."""

import asyncio

import httptools
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedfleet.gateway.upstream.forwarding import RequestFields, reply_fields
from embedfleet.gateway.upstream.reply import ReplyMemory
from embedfleet.http.exchange import Exchange
from embedfleet.http.message import Limits
from embedfleet.http.server import Server

names = st.from_regex(r"x-[a-z]{1,8}", fullmatch=True).map(str.encode)
values = st.from_regex(r"[!-~]([ -~]{0,20}[!-~])?", fullmatch=True).map(str.encode)
fields = st.lists(st.tuples(names, values), max_size=6)


def wire(headers) -> bytes:
    return b"".join(b"%b: %b\r\n" % header for header in headers)


@given(headers=fields, body=st.binary(max_size=40), again=st.binary(max_size=40))
@settings(max_examples=40, deadline=None)
def test_a_head_that_comes_again_is_the_same_request_with_its_own_body(headers, body, again):
    again = again[: len(body)].ljust(len(body), b".")
    head = b"POST /p?q=1 HTTP/1.1\r\nhost: h\r\n%bcontent-length: %d\r\n\r\n" % (wire(headers), len(body))
    seen: list[Exchange] = []

    def answer(exchange: Exchange) -> None:
        seen.append(exchange)
        exchange.respond(200, [], exchange.body)

    async def go():
        server = Server(answer)
        await server.start()
        for data in (head + body, head + again, head + body):
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            for _ in range(2):
                writer.write(data)
                await reader.readuntil(b"\r\n\r\n")
                assert await reader.readexactly(len(body)) == data[len(head) :]
            writer.close()
        assert len(server.heads) == 1
        await server.stop(0)

    asyncio.run(go())
    assert [exchange.body for exchange in seen] == [body] * 2 + [again] * 2 + [body] * 2
    first = seen[0]
    for exchange in seen[1:]:
        assert exchange.head is first.head or exchange.headers == first.headers
        assert (exchange.method, exchange.target, exchange.keep_alive) == (b"POST", b"/p?q=1", True)
    assert first.headers == [(b"host", b"h"), *headers]


@given(
    bodies=st.lists(st.binary(max_size=40), min_size=2, max_size=5),
    name=st.sampled_from([b"Content-Length: ", b"content-length: ", b"CONTENT-LENGTH: ", b"content-length:"]),
    after=fields,
)
@settings(max_examples=40, deadline=None)
def test_heads_that_differ_only_in_the_body_length_get_their_own_bodies(bodies, name, after):
    async def go():
        server = Server(lambda exchange: exchange.respond(200, exchange.headers, exchange.body))
        await server.start()
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        for body in bodies:
            writer.write(b"POST /p HTTP/1.1\r\nhost: h\r\n%b%d\r\n%b\r\n%b" % (name, len(body), wire(after), body))
            answer = await reader.readuntil(b"\r\n\r\n")
            assert wire(after) in answer
            assert answer.count(b"content-length") == 1
            assert await reader.readexactly(len(body)) == body
        spelt_oddly = name not in {b"Content-Length: ", b"content-length: "}
        assert len(server.heads) == (len({len(body) for body in bodies}) if spelt_oddly else 1)
        writer.close()
        await server.stop(0)

    asyncio.run(go())


def test_a_head_that_is_known_excuses_neither_a_wrong_length_nor_one_over_the_limit():
    async def go():
        server = Server(lambda exchange: exchange.respond(200, [], exchange.body), Limits(body_bytes=20))
        await server.start()

        async def answer(length: bytes, body: bytes) -> bytes:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(b"POST /p HTTP/1.1\r\nhost: h\r\ncontent-length: %b\r\n\r\n%b" % (length, body))
            writer.write_eof()
            try:
                return (await reader.read()).partition(b"\r\n")[0]
            finally:
                writer.close()

        assert await answer(b"3", b"abc") == b"HTTP/1.1 200 OK"
        assert await answer(b"20", b"x" * 20) == b"HTTP/1.1 200 OK"
        assert b" 413 " in await answer(b"21", b"x" * 21)
        assert b" 400 " in await answer(b"+3", b"abc")
        assert await answer(b"5", b"abc") == b""  # the body never became complete
        assert len(server.heads) == 1
        await server.stop(0)

    asyncio.run(go())


def test_empty_lines_before_a_request_are_ignored():
    seen: list[bytes] = []

    def answer(exchange: Exchange) -> None:
        seen.append(exchange.target)
        exchange.respond(200, [], b"")

    async def go():
        server = Server(answer)
        await server.start()
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        for target in (b"/a", b"/b"):
            writer.write(b"\r\n\r\nGET %b HTTP/1.1\r\nhost: h\r\n\r\n" % target)
            await reader.readuntil(b"\r\n\r\n")
        writer.close()
        await server.stop(0)

    asyncio.run(go())
    assert seen == [b"/a", b"/b"]


class Parsed:
    def __init__(self, head: bytes) -> None:
        self.headers: list[tuple[bytes, bytes]] = []
        self.parser = httptools.HttpResponseParser(self)
        self.parser.feed_data(head + b"\r\n\r\n")

    def on_header(self, name, value):
        self.headers.append((name.lower(), value))


@given(
    headers=fields, length=st.integers(0, 10**6), status=st.sampled_from([200, 201, 400, 404, 422, 424, 429, 500, 503])
)
def test_a_plain_reply_reads_as_the_parser_reads_it(headers, length, status):
    head = b"HTTP/1.1 %d Some Words\r\n%bContent-Length: %d\r\nConnection: keep-alive" % (status, wire(headers), length)
    memory = ReplyMemory()
    plain, parsed = memory.find(head), Parsed(head)
    assert plain is not None
    assert (plain.status, plain.length) == (parsed.parser.get_status_code(), length)
    assert plain.fields == reply_fields(parsed.headers)
    assert bool(plain.opening) == (length <= 65_536 and status != 429)
    if plain.opening:
        end = [(b"content-length", b"%d" % length), (b"x-request-id", b"1")]
        assert Parsed(plain.opening + b"1").headers == [*headers, *end]
    assert memory.find(head) is plain


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"HTTP/1.0 200 OK\r\ncontent-length: 1",
        b"HTTP/1.1 200 OK",
        b"HTTP/1.1 204 No Content\r\ncontent-length: 0",
        b"HTTP/1.1 100 Continue\r\ncontent-length: 0",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 1",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\nconnection: keep-alive\r\nconnection: close",
        b"HTTP/1.1 200 OK\r\ncontent-length: -1",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\nconnection: close",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\nno colon",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\nspace : before",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n folded: line",
        b"this is not HTTP",
    ],
)
def test_any_other_reply_is_left_to_the_parser(head):
    assert ReplyMemory().find(head) is None


def test_a_reply_that_names_the_request_keeps_its_name():
    plain = ReplyMemory().find(b"HTTP/1.1 200 OK\r\nX-Request-Id: r\r\nContent-Length: 3")
    assert plain is not None
    assert plain.has_request_id
    assert Parsed(plain.opening).headers == [(b"x-request-id", b"r"), (b"content-length", b"3")]


@given(headers=fields)
def test_a_clients_fields_reach_the_replica_and_those_of_the_hop_do_not(headers):
    hop = [(b"connection", b"close"), (b"connection", b"x-drop, close"), (b"x-drop", b"1"), (b"te", b"trailers")]
    hop += [(b"connection", b"upgrade, x-too"), (b"x-too", b"2"), (b"upgrade", b"h2c"), (b"host", b"h")]
    own = [header for header in headers if header[0] not in {b"x-drop", b"x-too"}]
    made = RequestFields(b"POST", b"/t", "/t", [*own, *hop, (b"x-forwarded-for", b"1.2.3.4"), (b"x-request-id", b"r")])
    assert made.line == b"/t HTTP/1.1\r\n" + wire(own)
    assert (made.forwarded, made.request_id) == (b"1.2.3.4, ", b"r")
