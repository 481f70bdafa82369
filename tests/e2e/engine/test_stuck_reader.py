"""An engine goes on when the reader of its log has stopped."""

import asyncio

import orjson

from embedfleet.http.client import fetch
from embedfleet.http.message import JSON
from tests.services.gateway import run
from tests.services.verb import Pipe, verb

ANSWER_S = 30


def test_an_engine_serves_and_ends_when_nobody_reads_its_log():
    pipe = Pipe()
    pipe.fill()

    async def test():
        # The engine logs a line if its preferred port is taken.
        taken = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
        port = taken.sockets[0].getsockname()[1]
        flags = ("--model", "builtin", "--log-level", "debug", "--preferred-port", str(port))
        with verb("engine", *flags, output=pipe.theirs) as engine:
            body = orjson.dumps({"inputs": "a"})
            url = f"http://127.0.0.1:{engine.port}/embed"
            reply = await fetch(url, method="POST", body=body, headers=[JSON], timeout_s=ANSWER_S)
            assert reply.status == 200
            assert await engine.end() == 0
        taken.close()
        await taken.wait_closed()

    run(test)
    pipe.close()
