"""A gateway goes on when the reader of its log has stopped."""

import asyncio
import json

import orjson
import pytest

from embedfleet.http.client import fetch
from embedfleet.http.message import JSON
from tests.services.gateway import run
from tests.services.replica import FakeReplica
from tests.services.verb import Pipe, verb

ANSWER_S = 10
FLAGS = ("gateway", "--host", "127.0.0.1", "--calibrate", "false")


async def ask(port, path="/embed"):
    body = orjson.dumps({"inputs": "a"})
    return await fetch(f"http://127.0.0.1:{port}{path}", method="POST", body=body, headers=[JSON], timeout_s=ANSWER_S)


async def active(port):
    reply = await fetch(f"http://127.0.0.1:{port}/info", timeout_s=ANSWER_S)
    return orjson.loads(reply.body)["gateway"]["active"] if reply.status == 200 else 0


async def until_active(port, count):
    async with asyncio.timeout(ANSWER_S):
        while await active(port) < count:
            pass


@pytest.fixture
def pipe():
    made = Pipe()
    yield made
    made.close()


def test_the_gateway_serves_and_ends_while_nothing_reads_its_log(pipe):
    async def test():
        here, gone = await FakeReplica().start(), await FakeReplica().start()
        await gone.kill()
        pipe.fill()
        replicas = ("--replica", here.url, "--replica", gone.url)
        with verb(*FLAGS, *replicas, "--log-level", "debug", output=pipe.theirs) as gateway:
            await until_active(gateway.port, 1)
            back = await FakeReplica().start(gone.server.port)
            await until_active(gateway.port, 2)  # this change of state is logged
            assert [(await ask(gateway.port)).status for _ in range(20)] == [200] * 20
            assert (await fetch(f"http://127.0.0.1:{gateway.port}/livez", timeout_s=ANSWER_S)).status == 200
            assert await gateway.end() == 0
        await here.kill()
        await back.kill()

    run(test)


@pytest.mark.parametrize("closed", [(2,), (0, 1, 2)])
def test_the_gateway_serves_and_ends_without_stderr(closed):
    async def test():
        replica = await FakeReplica().start()
        with verb(*FLAGS, "--replica", replica.url, closed=closed) as gateway:
            await until_active(gateway.port, 1)
            assert (await ask(gateway.port)).status == 200
            assert await gateway.end() == 0
        await replica.kill()

    run(test)


@pytest.mark.parametrize("style", ["text", "json"])
def test_the_log_says_how_many_lines_were_dropped(pipe, style):
    async def test():
        replica = await FakeReplica().start()
        pipe.fill()
        flags = ("--replica", replica.url, "--log-format", style, "--access-log", "true")
        with verb(*FLAGS, *flags, output=pipe.theirs) as gateway:
            await until_active(gateway.port, 1)
            long = "/" + "x" * 30_000
            for _ in range(50):  # lines of 30 KB: more than the buffer holds
                await ask(gateway.port, long)
            metrics = (await fetch(f"http://127.0.0.1:{gateway.port}/metrics", timeout_s=ANSWER_S)).body
            assert b"\nembedfleet_log_dropped_total 0\n" not in metrics
            said = (await asyncio.to_thread(pipe.read, b"lines were dropped")).splitlines()
            assert await gateway.end() == 0
        last = said[-1].decode()
        dropped = json.loads(last)["dropped"] if style == "json" else int(last.split()[2])
        written = sum(long.encode() in line for line in said)
        assert dropped > 0
        assert dropped + written >= 50
        await replica.kill()

    run(test)
