"""A request that is over is freed at once: nothing is left for the collector, which would stop all others to look."""

import asyncio
import gc

import pytest

from embedfleet.gateway.call import Call
from embedfleet.gateway.dispatch.request import Chunk
from tests.e2e.gateway.test_coalescing import spread_out, together
from tests.services.gateway import gateway, run


@pytest.fixture
def by_hand():
    """The collector runs only when it is asked."""
    gc.collect()
    gc.disable()
    yield
    gc.set_debug(0)
    gc.garbage.clear()
    gc.enable()


def cycles():
    """What of requests only the collector would free, by type."""
    gc.garbage.clear()
    gc.set_debug(gc.DEBUG_SAVEALL)
    gc.collect()
    return {type(found).__qualname__ for found in gc.garbage if isinstance(found, Chunk | Call)}


@pytest.mark.parametrize("coalesce", [False, True])
@pytest.mark.usefixtures("by_hand")
def test_requests_leave_nothing_to_the_collector(coalesce):
    async def go():
        async with gateway(2, coalesce=coalesce) as g:
            spread_out(g)
            answers = await together(g, [f"text {n}" for n in range(20)])
            assert [status for status, _, _ in answers] == [200] * 20
            await g.until(lambda: not g.app.server.connections)
            assert cycles() == set()

    run(go)


@pytest.mark.usefixtures("by_hand")
def test_neither_do_batches_that_are_cut():
    async def go():
        async with gateway(2) as g:
            replies = await asyncio.gather(*(g.embed(["a text"] * 100) for _ in range(3)))
            assert [reply.status for reply in replies] == [200] * 3
            await g.until(lambda: not g.app.server.connections)
            assert cycles() == set()

    run(go)
