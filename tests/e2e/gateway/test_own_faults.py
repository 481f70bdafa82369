"""An error in the gateway's own code gives its request a 500 and affects no other."""

import asyncio
import inspect
from itertools import product

import orjson
import pytest

from embedfleet.gateway.counters import Counters
from embedfleet.gateway.requests import coalesced_request, coalescer
from embedfleet.gateway.requests.client_request import ClientRequest
from tests.e2e.gateway.test_coalescing import spread_out, together
from tests.services.gateway import gateway, run

patches = pytest.mark.skipif(
    not inspect.isfunction(ClientRequest.relay), reason="methods of compiled classes cannot be replaced"
)
DEEP = b"[" * 300 + b"]" * 300  # orjson reads this, but cannot write it


async def posted(g, bodies, priority=b"online"):
    """Send requests, all before any answer is read; return the statuses."""
    links = [await asyncio.open_connection("127.0.0.1", g.port) for _ in bodies]
    head = b"POST /embed HTTP/1.1\r\nhost: h\r\nx-priority: %b\r\ncontent-type: application/json\r\n"
    head += b"content-length: %d\r\n\r\n"
    for (_, writer), body in zip(links, bodies, strict=True):
        writer.write(head % (priority, len(body)) + body)
    statuses = []
    for reader, writer in links:
        statuses.append(int((await reader.readuntil(b"\r\n\r\n")).split()[1]))
        writer.close()
    return statuses


async def until_nothing_is_left(g):
    dispatcher = g.app.proxy.dispatcher
    await g.until(lambda: dispatcher.under_way == 0)
    assert (dispatcher.queued, dispatcher.queued_tokens, dispatcher.queued_bytes) == (0, 0, 0)
    assert all(replica.tokens == replica.texts == 0 for replica in dispatcher.replicas.values())
    assert (await g.embed("afterwards")).status == 200


@pytest.mark.parametrize("texts", ['"one"', orjson.dumps([f"text {n}" for n in range(100)]).decode()])
def test_a_body_that_cannot_be_written_again_is_sent_unchanged_and_harms_no_other(texts):
    """In a former version none of four requests in one turn of the loop was answered if one had such a body."""

    async def go():
        async with gateway(1) as g:
            spread_out(g)
            deep = b'{"inputs":%b,"deep":%b}' % (texts.encode(), DEEP)
            sound = [orjson.dumps({"inputs": f"text {n}"}) for n in range(3)]
            assert await posted(g, [sound[0], deep, *sound[1:]]) == [200] * 4
            assert deep in [exchange.body for exchange in g.replicas[0].seen], "it is sent byte for byte"
            await until_nothing_is_left(g)

    run(go)


@pytest.mark.parametrize(
    "body", [b'{"inputs":["a","b"],"inputs":["c","d"]}', b'{"inputs":"a","truncate":true,"truncate":false}']
)
def test_a_body_with_a_repeated_field_is_sent_unchanged(body):
    async def go():
        async with gateway(1) as g:
            spread_out(g)
            others = [orjson.dumps({"inputs": f"text {n}", "truncate": False}) for n in range(3)]
            assert await posted(g, [body, *others]) == [200] * 4
            assert body in [exchange.body for exchange in g.replicas[0].seen]

    run(go)


def test_the_parts_of_a_request_have_at_most_twice_its_bytes():
    """A former version made 300 parts of 2 MB from 300 tiny texts and an ignored field of 2 MB."""

    async def go():
        async with gateway(2) as g:
            texts = [f"{n}" for n in range(300)]
            body = orjson.dumps({"inputs": texts, "ignored": "x" * 2_000_000})
            await posted(g, [body])
            assert sum(len(exchange.body) for exchange in g.replicas[0].seen + g.replicas[1].seen) <= 2 * len(body)
            await until_nothing_is_left(g)

    run(go)


def raising(of, name, is_meant):
    """Return a copy of a method that fails on the chosen objects."""
    sound = getattr(of, name)

    def failing(self, *given, **named):
        if is_meant(self):
            raise RuntimeError(f"{name} fails")
        return sound(self, *given, **named)

    return failing


@patches
@pytest.mark.parametrize("name", ["split", "wire", "sent", "check", "keep", "relay", "join"])
def test_a_fault_of_the_gateways_code_fails_only_the_request_that_it_works_on(monkeypatch, name):
    def is_meant(client):
        return b"doomed" in client.exchange.body

    monkeypatch.setattr(ClientRequest, name, raising(ClientRequest, name, is_meant))

    async def go():
        async with gateway(2) as g:
            sound = [orjson.dumps({"inputs": [f"text {n} {m}" for m in range(40)]}) for n in range(4)]
            for count, priority in product((1, 100), (b"online", b"bulk")):
                doomed = orjson.dumps({"inputs": [f"doomed {n} " + "word " * 300 for n in range(count)]})
                statuses = await posted(g, [sound[0], doomed, *sound[1:]], priority)
                assert statuses[1] in {200, 500}
                assert [*statuses[:1], *statuses[2:]] == [200] * 4
            await until_nothing_is_left(g)
            assert set(g.states.values()) == {"active"}, "no replica is blamed"

    run(go)


@patches
@pytest.mark.parametrize("name", ["wire", "check", "relay"])
def test_if_a_coalesced_request_fails_each_client_is_served_alone(monkeypatch, name):
    of = coalesced_request.CoalescedRequest
    monkeypatch.setattr(of, name, raising(of, name, lambda _: True))

    async def go():
        async with gateway(2) as g:
            spread_out(g)
            answers = await together(g, [f"text {n}" for n in range(12)])
            assert {status for status, _, _ in answers} == {200}
            await until_nothing_is_left(g)

    run(go)


@patches
@pytest.mark.parametrize(("where", "name"), [(coalescer, "read_single"), (coalesced_request, "write_batch")])
def test_if_requests_cannot_be_coalesced_each_goes_alone(monkeypatch, where, name):
    def failing(*_):
        raise RuntimeError(name)

    monkeypatch.setattr(where, name, failing)

    async def go():
        async with gateway(1) as g:
            spread_out(g)
            answers = await together(g, [f"text {n}" for n in range(12)])
            assert {status for status, _, _ in answers} == {200}
            await until_nothing_is_left(g)

    run(go)


@patches
def test_a_fault_in_a_tick_does_not_end_the_ticks(monkeypatch):
    async def go():
        async with gateway(1) as g:
            dispatcher = g.app.proxy.dispatcher
            failed = asyncio.Event()

            def failing(*_):
                failed.set()
                raise RuntimeError("a tick fails")

            with monkeypatch.context() as patch:
                patch.setattr(dispatcher._pool, "probes", failing)
                await failed.wait()
            ticked_at = dispatcher._ticked_at
            await g.until(lambda: dispatcher._ticked_at > ticked_at)
            assert (await g.embed()).status == 200

    run(go)


@patches
def test_a_streamed_reply_is_broken_off_if_the_gateways_code_fails(monkeypatch):
    def failing(*_):
        raise RuntimeError("no more of it")

    monkeypatch.setattr(ClientRequest, "pass_on", failing)

    async def go():
        async with gateway(1, hold_bytes=100_000) as g:
            g.replicas[0].mode = "huge"
            reader, writer = await asyncio.open_connection("127.0.0.1", g.port)
            writer.write(b"POST /embed HTTP/1.1\r\nhost: h\r\ncontent-length: 18\r\n\r\n" + b'{"inputs": "text"}')
            got = await reader.read(-1)
            assert not got.endswith(b"0\r\n\r\n"), "the client does not take it for whole"
            writer.close()
            g.replicas[0].mode = 200
            await until_nothing_is_left(g)

    run(go)


@pytest.mark.parametrize("value", [b"9" * 5000, b"9" * 16, b"-1", b"1e9"])
def test_an_invalid_count_of_tokens_is_ignored(value):
    async def go():
        async with gateway(1) as g:
            g.replicas[0].tokens = value
            assert [(await g.embed()).status for _ in range(3)] == [200] * 3
            assert g.states == {"r0": "active"}

    run(go)


@patches
def test_a_fault_of_the_counters_fails_only_its_own_request(monkeypatch):
    async def go():
        async with gateway(1) as g:
            with monkeypatch.context() as patch:
                patch.setattr(Counters, "add_wait", raising(Counters, "add_wait", lambda _: True))
                assert (await g.embed()).status == 500
            await until_nothing_is_left(g)

    run(go)
