"""Statuses of a replica's reply that are passed on, and those that are malformed."""

import asyncio

import pytest

from tests.services.gateway import gateway, malformed, run


@pytest.mark.parametrize("hold_bytes", [10, 4_194_304])
@pytest.mark.parametrize("mode", [201, 204, 302, 304, 600])
def test_a_status_that_is_neither_200_nor_an_error_is_malformed_for_a_text(mode, hold_bytes):
    async def go():
        async with gateway(2, hold_bytes=hold_bytes, coalesce=False) as g:
            g.replicas[0].mode = mode
            replies = await asyncio.gather(*(g.embed(f"text {n}") for n in range(10)))
            assert {(reply.status, reply.body) for reply in replies} == {(200, b"[[1.0]]")}
            assert await malformed(g)

    run(go)


@pytest.mark.parametrize("mode", [201, 204, 302])
def test_any_status_is_passed_on_for_a_request_without_inference(mode):
    async def go():
        async with gateway(1) as g:
            g.replicas[0].mode = mode
            assert (await g.request("GET", "/elsewhere")).status == mode

    run(go)
