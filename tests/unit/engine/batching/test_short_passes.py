"""Short passes run in the event loop's thread, for all requests that came together; any other pass runs in a worker."""

import asyncio
import threading
import time

import pytest

from embedfleet.errors import Backend
from tests.services.echo import POISON, EchoBackend, engine_of, run, sequence

ENOUGH = 8


class Tracing(EchoBackend):
    """A backend that notes the thread of each pass.

    Attributes:
        threads: Whether each pass ran in the main thread, where the tests' loop runs.
        slow_s: Processor time that each pass takes.
    """

    def __init__(self, slow_s=0.0):
        super().__init__()
        self.threads = []
        self.slow_s = slow_s

    def forward(self, ids, types, lengths, outputs):
        self.threads.append(threading.current_thread() is threading.main_thread())
        until = time.thread_time() + self.slow_s
        while time.thread_time() < until:
            pass
        return super().forward(ids, types, lengths, outputs)


async def ask(engine, *firsts):
    return await asyncio.gather(*(engine.infer([sequence(first, 9)]) for first in firsts))


async def learn(engine, count):
    """Run enough passes of so many inputs of two tokens for their time to be known."""
    for turn in range(ENOUGH):
        await ask(engine, *(100 + turn * count + number for number in range(count)))


def firsts_of(answers):
    return [int(answer.outputs[0][0][0, 0]) for answer in answers]


def test_the_first_passes_run_in_the_worker_and_later_ones_in_the_loop():
    async def story(engine):
        await learn(engine, 1)
        assert firsts_of(await ask(engine, 901)) == [901]

    backend = Tracing()
    with engine_of(backend) as engine:
        run(story(engine))
    assert backend.threads == [False] * ENOUGH + [True]


def test_a_pass_that_takes_long_always_runs_in_the_worker():
    async def story(engine):
        await learn(engine, 1)
        await ask(engine, 901)

    backend = Tracing(slow_s=0.006)
    with engine_of(backend) as engine:
        run(story(engine))
    assert not any(backend.threads)


def test_requests_that_come_together_share_a_pass_in_the_loop():
    async def story(engine, backend):
        await learn(engine, 4)
        assert firsts_of(await ask(engine, 901, 902, 903, 904)) == [901, 902, 903, 904]
        assert backend.threads[-1]
        assert backend.batches[-1] == [[901, 9], [902, 9], [903, 9], [904, 9]]

    backend = Tracing()
    with engine_of(backend) as engine:
        run(story(engine, backend))


@pytest.mark.parametrize("is_latest", [True, False])
def test_the_request_that_came_last_starts_the_pass_at_once(is_latest):
    async def story(engine):
        await learn(engine, 1)
        turns = []
        asyncio.get_running_loop().call_soon(turns.append, 1)
        engine.latest = asyncio.current_task() if is_latest else None
        await engine.infer([sequence(901, 9)])
        assert bool(turns) is not is_latest

    with engine_of(Tracing()) as engine:
        run(story(engine))


def test_an_input_that_fails_in_the_loop_fails_alone():
    async def story(engine, backend):
        await learn(engine, 1)
        with pytest.raises(Backend, match="a poisoned pass"):
            await ask(engine, POISON)
        assert backend.threads[-1]
        assert firsts_of(await ask(engine, 901)) == [901]
        await engine.health()

    backend = Tracing()
    with engine_of(backend) as engine:
        run(story(engine, backend))


def test_a_loop_that_ends_before_its_turn_keeps_no_later_loop_waiting():
    async def leave(engine):
        await learn(engine, 1)
        task = asyncio.ensure_future(engine.infer([sequence(901, 9)]))
        loop = asyncio.get_running_loop()
        await asyncio.sleep(0)  # the input waits now, and the pass is due in the next turn
        loop.stop()
        return task

    backend = Tracing()
    with engine_of(backend) as engine:
        loop = asyncio.new_event_loop()
        task = loop.create_task(leave(engine))
        loop.run_forever()
        assert task.done()
        loop.close()
        assert firsts_of(run(ask(engine, 902))) == [902]
