"""A batch waits only for clients that were just answered and usually come back at once."""

import asyncio
import threading
import time

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from embedfleet.engine.batching.batch_queue import BatchQueue
from embedfleet.engine.batching.cache import Cache
from embedfleet.engine.batching.choosing import BatchLimits
from embedfleet.engine.batching.job import Job
from embedfleet.engine.batching.lingering import Linger
from embedfleet.engine.batching.pass_times import PassTimes
from embedfleet.engine.compute.output import Output
from embedfleet.metrics import TEI, Registry
from tests.services.echo import TIMEOUT_S, run, sequence

PASS_S = 1.0
LONG_S = 1000.0  # reported duration of a pass; a tenth of it is longer than any test waits
passes = st.lists(
    st.tuples(st.integers(0, 20), st.floats(0.001, 5), st.lists(st.floats(0, 1), max_size=30)), max_size=30
)


def after(history, linger):
    """Replay passes, each as (answered, duration, arrivals after it); returns the time at the end."""
    now = 0.0
    for answered, pass_s, arrivals in history:
        now += pass_s
        linger.ended(answered, now - pass_s, now)
        for wait in sorted(arrivals):
            linger.arrived(now + wait)
        now += 1.0
    return now


@given(passes, st.integers(0, 20), st.floats(0.001, 5), st.floats(0, 5))
def test_nobody_is_kept_for_longer_than_a_tenth_of_the_last_pass_after_its_end(history, answered, pass_s, later):
    linger = Linger()
    end = after(history, linger) + pass_s
    linger.ended(answered, end - pass_s, end)
    waited = linger.wait_s(end + later)
    assert 0 <= waited <= max(0.0, 0.1 * pass_s - later) + 1e-9


@given(st.integers(1, 20))
def test_clients_that_come_back_at_once_are_waited_for_until_all_are_there(clients):
    linger = Linger()
    now = after([(clients, PASS_S, [0.01] * clients)] * 10, linger) + PASS_S
    linger.ended(clients, now - PASS_S, now)
    for _ in range(clients):
        assert linger.wait_s(now) > 0
        linger.arrived(now)
    assert linger.wait_s(now) == 0


@given(st.lists(st.integers(0, 9), min_size=10, max_size=10))
def test_requests_that_come_when_they_come_are_not_waited_for(spread):
    linger = Linger()
    # Twenty requests per pass, evenly spread: two of them fall into the tenth of the pass that counts.
    history = [(20, PASS_S, [0.01 * late, 0.09, *[0.5] * 18]) for late in spread]
    now = after(history, linger) + PASS_S
    linger.ended(20, now - PASS_S, now)
    assert linger.wait_s(now) == 0


class Watched(Job):
    """A job that signals when a taker checks it while holding the queue's lock."""

    def __init__(self, loop):
        super().__init__(1, loop)
        self.looked = threading.Event()

    @property
    def is_gone(self):
        self.looked.set()
        return super().is_gone


def test_a_batch_is_taken_once_the_clients_that_always_come_back_are_there():
    registry = Registry(TEI)
    times = PassTimes(workers=1)
    for _ in range(20):
        times.measured(1, 1.0)  # a pass of one input is known to be long, so that a worker runs it
    queue = BatchQueue(BatchLimits(), Cache(0, registry), times, registry)
    clients = range(4)

    async def story():
        loop = asyncio.get_running_loop()

        def put(number):
            job = Watched(loop)
            queue.put(job, [sequence(number)], [bytes([number])], (Output.STATES,))
            return job

        for _ in range(10):
            for number in clients:
                put(number)
            batch = queue.take()
            computed = [(item, (np.zeros((1, 2), np.float32),)) for item in batch]
            queue.answer(computed, started=time.perf_counter() - LONG_S)
        first = put(0)
        taken = asyncio.create_task(asyncio.to_thread(queue.take))
        assert await asyncio.to_thread(first.looked.wait, TIMEOUT_S)
        # The lock is free only when the taker waits, or has left with the first job alone.
        for number in clients[1:]:
            put(number)
        return await taken

    assert len(run(story())) == len(clients)
