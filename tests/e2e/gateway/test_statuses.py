"""Which statuses of a replica's reply are passed on."""

import asyncio

import pytest

from tests.services.gateway import gateway, malformed, run


@pytest.mark.parametrize("hold_bytes", [10, 4_194_304])
@pytest.mark.parametrize("mode", [201, 204, 302, 304, 600])
def test_a_status_that_is_neither_an_answers_nor_an_errors_is_no_answer_to_a_text(mode, hold_bytes):
    async def go():
        async with gateway(2, hold_bytes=hold_bytes, coalesce=False) as g:
            g.replicas[0].mode = mode
            replies = await asyncio.gather(*(g.embed(f"text {n}") for n in range(10)))
            assert {(reply.status, reply.body) for reply in replies} == {(200, b"[[1.0]]")}
            assert await malformed(g)

    run(go)


@pytest.mark.parametrize("mode", [201, 204, 302])
def test_what_asks_for_no_inference_gets_the_status_that_there_is(mode):
    async def go():
        async with gateway(1) as g:
            g.replicas[0].mode = mode
            assert (await g.request("GET", "/elsewhere")).status == mode

    run(go)
