"""One request and its reply, over real sockets."""

import pytest

from embedfleet.http.client import fetch
from tests.services.http import WAIT_S, run, serving


@pytest.mark.parametrize(("method", "body"), [("GET", b"GET /a "), ("POST", b"POST /a "), ("HEAD", b"")])
def test_a_reply_is_whole_with_or_without_a_body(method, body):
    async def go():
        async with serving() as server:
            reply = await fetch(f"http://127.0.0.1:{server.port}/a", method=method, timeout_s=WAIT_S)
        assert (reply.status, reply.body) == (200, body)
        assert reply.headers["content-length"] == str(len(f"{method} /a "))

    run(go)
