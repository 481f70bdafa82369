"""Replies without end: they cost the gateway little time and memory, and fail no request."""

import asyncio
from dataclasses import replace

import orjson
import pytest

from tests.services.gateway import DISPATCH, gateway, malformed, run
from tests.services.replica import FakeReplica

# Without hedges, only the bytes of a reply decide when the gateway gives it up.
WITHOUT_HEDGES = replace(DISPATCH, hedge=False)
LINE = b"HTTP/1.1 200 OK\r\n"
CHUNKED = LINE + b"transfer-encoding: chunked\r\n\r\n"
ANSWER = b"content-length: 7\r\n\r\n[[0.5]]"
BEGUN = {
    "a status line": b"HTTP/1.1 200 " + b"O" * 300_000,
    "empty lines": b"\r\n" * 150_000,
    "the name of a field": LINE + b"x" * 300_000,
    "the value of a field": LINE + b"x-a: " + b"x" * 300_000,
    "blanks before it": LINE + b"x-a: " + b" " * 300_000,
    "fields": LINE + b"x-a: b\r\n" * 30_000,
    "interim replies": b"HTTP/1.1 103 Early Hints\r\n\r\n" * 101,
    "fields of interim replies": b"HTTP/1.1 103 Early Hints\r\nx-a: %b\r\n\r\n" % (b"x" * 1000) * 90,
    "the extension of a chunk": CHUNKED + b"7;a=" + b"x" * 600_000,
    "a trailer": CHUNKED + b"7\r\n[[0.5]]\r\n0\r\nx-a: " + b"x" * 600_000,
    "trailers": CHUNKED + b"7\r\n[[0.5]]\r\n0\r\n" + b"x-a: b\r\n" * 300,
}
WHOLE = {
    "a head over the limit": LINE + b"x-a: " + b"x" * 66_000 + b"\r\n" + ANSWER,
    "too many fields": LINE + b"a:b\r\n" * 256 + ANSWER,
    "too many interim replies": b"HTTP/1.1 100 Continue\r\n\r\n" * 101 + LINE + ANSWER,
    "a status under 100": b"HTTP/1.1 099 Odd\r\n" + ANSWER + LINE + ANSWER,
}


@pytest.mark.parametrize("data", [*BEGUN.values(), *WHOLE.values()], ids=[*BEGUN, *WHOLE])
def test_a_reply_without_end_is_given_up_for_another_replica(data):
    async def go():
        async with gateway(2, dispatch=WITHOUT_HEDGES) as g:
            g.replicas[0].mode = data
            replies = await asyncio.gather(*(g.embed(f"text {n}") for n in range(10)))
            assert {(reply.status, reply.body) for reply in replies} == {(200, b"[[1.0]]")}
            assert await malformed(g)

    run(go)


def test_a_reply_at_the_limits_is_accepted():
    reply = (
        b"HTTP/1.1 102 Processing\r\n\r\n" * 100
        + (LINE + b"x-a: " + b"x" * 60_000 + b"\r\n" + b"a:b\r\n" * 200)
        + (b"content-length: " + b"0" * 5000 + ANSWER.removeprefix(b"content-length: "))
    )

    async def go():
        async with gateway(1, dispatch=WITHOUT_HEDGES) as g:
            g.replicas[0].mode = reply
            assert (await g.embed()).body == b"[[0.5]]"

    run(go)


def test_the_framing_of_a_body_may_be_larger_than_the_body():
    body = b"[[0.5%b]]" % (b"0" * 30_000)
    reply = CHUNKED + b"".join(b"1;a=b\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n"

    async def go():
        async with gateway(1, dispatch=WITHOUT_HEDGES) as g:
            g.replicas[0].mode = reply
            assert (await g.embed()).body == body

    run(go)


BODIES = {
    "that says how long it is": LINE + b"content-length: 99999999999\r\n\r\n" + b"x" * 5_000_000,
    "in chunks": CHUNKED + (b"100000\r\n" + b"x" * 0x100000 + b"\r\n") * 40,
    "until the connection ends": LINE + b"\r\n" + b"x" * 40_000_000,
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
@pytest.mark.parametrize("texts", [["text"] * 100, ["a", "b"]], ids=["a part", "some together"])
def test_a_body_longer_than_any_answer_is_not_collected(texts, body):
    async def go():
        async with gateway(2, dispatch=WITHOUT_HEDGES) as g:
            g.replicas[0].mode = body
            if len(texts) > 2:
                reply = await g.embed(texts)
                assert (reply.status, orjson.loads(reply.body)) == (200, [[1.0]] * len(texts))
            else:
                replies = await asyncio.gather(*(g.embed(text) for text in texts * 4))
                assert {(reply.status, reply.body) for reply in replies} == {(200, b"[[1.0]]")}
            assert await malformed(g)

    run(go)


def test_the_timeout_of_a_reply_covers_the_whole_collected_body():
    async def go():
        async with gateway(2, dispatch=WITHOUT_HEDGES, hold_bytes=1000, response_timeout_s=0.3) as g:
            g.replicas[0].mode = "drip"
            reply = await g.embed(["text"] * 100)
            assert (reply.status, orjson.loads(reply.body)) == (200, [[1.0]] * 100)

    run(go)


def test_a_reply_that_was_given_up_for_its_status_does_not_harm_the_next():
    async def go():
        async with gateway(2, dispatch=WITHOUT_HEDGES, hold_bytes=100) as g:
            failed = b"HTTP/1.1 500 No\r\ntransfer-encoding: chunked\r\n\r\nc8\r\n" + b"x" * 200
            g.replicas[0].mode = failed + b"\r\nthis is no chunk"
            replies = await asyncio.gather(*(g.embed(f"text {n}") for n in range(10)))
            assert {(reply.status, reply.body) for reply in replies} == {(200, b"[[1.0]]")}

    run(go)


@pytest.mark.parametrize("data", [*BEGUN.values(), *BODIES.values()], ids=[*BEGUN, *BODIES])
@pytest.mark.parametrize("which", ["info_mode", "probe_mode"])
def test_an_endless_reply_to_a_probe_is_distinguished_from_a_slow_one(which, data):
    async def go():
        endless = await FakeReplica(9.0).start()
        setattr(endless, which, data)
        async with gateway(1, probe_timeout_s=60) as g:
            g.app.proxy.set_members((g.replicas[0].endpoint("r0"), endless.endpoint("endless")))
            await g.until(lambda: "over " in {row["id"]: row["reason"] for row in g.app.status()}.get("endless", ""))
            assert g.states == {"r0": "active", "endless": "joining"}
        await endless.kill()

    run(go)
