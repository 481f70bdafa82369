"""The watch of a replica's process, before a real server."""

import asyncio

import pytest

from embedfleet.probe.process_watch import ProcessWatch

LIMIT_S = 20
TURNS = 10  # turns of the event loop from a connection's accept to the start of its task


@pytest.mark.parametrize("turns", range(12))
def test_a_watch_that_is_closed_while_it_renews_keeps_no_connection(turns):
    """Closed between two turns of the loop, it forgot a connection that it had just opened."""

    async def go():
        ended = []

        async def serve(reader, writer):
            ended.append(await reader.read())
            writer.close()
            await writer.wait_closed()

        server = await asyncio.start_server(serve, "127.0.0.1")
        watch = ProcessWatch("127.0.0.1", server.sockets[0].getsockname()[1], lambda: None)
        await watch.open()
        watch._begin()
        for _ in range(turns):
            await asyncio.sleep(0)
        watch.close()
        for _ in range(TURNS):
            await asyncio.sleep(0)
        server.close()
        async with asyncio.timeout(LIMIT_S):
            await server.wait_closed()
            while tasks := asyncio.all_tasks() - {asyncio.current_task()}:
                await asyncio.wait(tasks)
        assert set(ended) == {b""}

    asyncio.run(go())
