"""The engine's queue: answers reach their askers, failures and departures touch nobody else."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest

from embedfleet.engine.batching import BatchLimits
from embedfleet.engine.builtin import builtin_model
from embedfleet.engine.engine import Engine
from embedfleet.engine.model import read_model
from embedfleet.engine.tokenization import Encoded, Tokenization
from embedfleet.errors import Backend, ModelError, Overloaded, Unhealthy
from embedfleet.metrics import TEI, Registry

TIMEOUT_S = 20
SPEC = read_model(builtin_model())
TOKENIZATION = Tokenization(SPEC.tokenizer_file)
POISON, NOT_A_NUMBER = 13, 14


class EchoBackend:
    """States are the ids themselves; passes wait for `gate`, an input that begins with `POISON` fails its batch."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Semaphore(0)
        self.batches: list[list[list[int]]] = []
        self.broken = False

    def forward(self, ids, types, lengths, outputs):
        rows = np.split(ids, np.cumsum(lengths)[:-1])
        self.batches.append([row.tolist() for row in rows])
        self.entered.release()
        assert self.gate.wait(TIMEOUT_S)
        if self.broken or any(row[0] == POISON for row in rows):
            raise RuntimeError("out of memory")
        states = np.repeat(ids[:, None].astype(np.float32), 2, axis=1)
        return (np.where(states == NOT_A_NUMBER, np.float32("nan"), states),)

    async def running(self) -> None:
        """Return once another pass has begun."""
        assert await asyncio.to_thread(self.entered.acquire, timeout=TIMEOUT_S)


def sequence(*ids: int) -> Encoded:
    count = len(ids)
    return Encoded(np.array(ids, dtype=np.int64), np.zeros(count, np.int64), np.zeros(count, np.bool_), count)


@contextmanager
def engine_of(backend: EchoBackend, *, workers: int = 1, tokens: int = 64, permits: int = 8) -> Iterator[Engine]:
    engine = Engine(
        SPEC,
        TOKENIZATION,
        backend,
        late_interaction=False,
        workers=workers,
        tokenization_workers=1,
        limits=BatchLimits(tokens=tokens),
        max_concurrent_requests=permits,
        registry=Registry(TEI),
    )
    try:
        yield engine
    finally:
        backend.gate.set()
        engine.close()


async def queue_up() -> None:
    """Let the tasks just made run up to where they wait: one turn of the loop."""
    await asyncio.sleep(0)


def run(coroutine):
    return asyncio.run(asyncio.wait_for(coroutine, TIMEOUT_S))


@pytest.mark.parametrize("workers", [1, 3])
def test_every_request_gets_its_own_outputs_in_its_own_order(workers):
    async def ask(engine, start):
        inputs = [sequence(*range(start + n, start + 2 * n + 1)) for n in (5, 0, 9, 1, 5)]
        inference = await engine.infer(inputs)
        got = [output[:, 0].astype(int).tolist() for (output,) in inference.outputs]
        assert got == [item.ids.tolist() for item in inputs]

    async def ask_all(engine):
        await asyncio.gather(*(ask(engine, 100 * number) for number in range(1, 30)))

    backend = EchoBackend()
    with engine_of(backend, workers=workers) as engine:
        run(ask_all(engine))
        assert engine.queued == 0
    assert len(backend.batches) < 29 * 5, "requests share batches"


def test_a_pass_under_way_lets_the_next_batch_gather():
    async def story(engine, backend):
        backend.gate.clear()
        first = asyncio.ensure_future(engine.infer([sequence(100)]))
        await backend.running()
        others = [asyncio.ensure_future(engine.infer([sequence(number)])) for number in (101, 102, 103)]
        await queue_up()
        assert engine.queued == 3
        backend.gate.set()
        await asyncio.gather(first, *others)
        assert backend.batches == [[[100]], [[101], [102], [103]]]

    backend = EchoBackend()
    with engine_of(backend) as engine:
        run(story(engine, backend))


def test_workers_run_side_by_side():
    async def story(engine, backend):
        backend.gate.clear()
        tasks = [asyncio.ensure_future(engine.infer([sequence(*[100] * 60)])) for _ in range(2)]
        await backend.running()
        await backend.running()
        backend.gate.set()
        await asyncio.gather(*tasks)

    backend = EchoBackend()
    with engine_of(backend, workers=2) as engine:
        run(story(engine, backend))


def test_what_a_cancelled_request_had_waiting_never_runs():
    async def story(engine, backend):
        backend.gate.clear()
        first = asyncio.ensure_future(engine.infer([sequence(100)]))
        await backend.running()
        leaver = asyncio.ensure_future(engine.infer([sequence(200), sequence(201)]))
        stayer = asyncio.ensure_future(engine.infer([sequence(300)]))
        await queue_up()
        leaver.cancel()
        await asyncio.gather(leaver, return_exceptions=True)
        assert leaver.cancelled()
        backend.gate.set()
        await asyncio.gather(first, stayer)
        assert backend.batches == [[[100]], [[300]]]

    backend = EchoBackend()
    with engine_of(backend) as engine:
        run(story(engine, backend))


def test_a_request_cancelled_during_its_pass_harms_nobody():
    async def story(engine, backend):
        backend.gate.clear()
        leaver = asyncio.ensure_future(engine.infer([sequence(100)]))
        await backend.running()
        leaver.cancel()
        await asyncio.gather(leaver, return_exceptions=True)
        backend.gate.set()
        assert len((await engine.infer([sequence(101)])).outputs) == 1

    backend = EchoBackend()
    with engine_of(backend) as engine:
        run(story(engine, backend))


def test_a_failed_pass_fails_its_batch_and_the_engine_lives_on():
    async def story(engine, backend):
        backend.gate.clear()
        first = asyncio.ensure_future(engine.infer([sequence(100)]))
        await backend.running()
        # Of unlike lengths, so that they do not share a batch.
        poisoned = asyncio.ensure_future(engine.infer([sequence(POISON)]))
        healthy = asyncio.ensure_future(engine.infer([sequence(*range(100, 140))]))
        await queue_up()
        backend.gate.set()
        answers = await asyncio.gather(first, poisoned, healthy, return_exceptions=True)
        assert isinstance(answers[1], Backend)
        assert "Backend error" in str(answers[1])
        assert "out of memory" in str(answers[1])
        assert [len(answer.outputs) for answer in (answers[0], answers[2])] == [1, 1]

    backend = EchoBackend()
    with engine_of(backend) as engine:
        run(story(engine, backend))


def test_a_request_one_of_whose_batches_failed_fails_as_a_whole_and_the_rest_of_it_is_dropped():
    async def story(engine, backend):
        with pytest.raises(Backend):
            await engine.infer([sequence(POISON), sequence(*range(100, 140)), sequence(*range(100, 160))])
        await engine.infer([sequence(100)])
        assert engine.queued == 0

    backend = EchoBackend()
    with engine_of(backend) as engine:
        run(story(engine, backend))


def test_an_output_that_is_not_finite_is_an_error_and_not_an_answer():
    with engine_of(EchoBackend()) as engine, pytest.raises(Backend, match="not finite"):
        run(engine.infer([sequence(NOT_A_NUMBER)]))


def test_health_runs_the_model_only_after_a_failure_and_recovers_with_it():
    async def story(engine, backend):
        await engine.health()
        assert backend.batches == []
        backend.broken = True
        with pytest.raises(Backend):
            await engine.infer([sequence(100)])
        with pytest.raises(Unhealthy):
            await engine.health()
        backend.broken = False
        await engine.health()
        passes = len(backend.batches)
        await engine.health()
        assert len(backend.batches) == passes

    backend = EchoBackend()
    with engine_of(backend) as engine:
        run(story(engine, backend))


def test_permits_count_inputs_and_come_back():
    with engine_of(EchoBackend(), permits=4) as engine:
        with engine.permits(3):
            with pytest.raises(Overloaded), engine.permits(2):
                pytest.fail("there is room for one")
            with engine.permits(1):
                pass
        with pytest.raises(KeyError), engine.permits(4):
            raise KeyError
        with engine.permits(4):
            pass


def test_close_lets_the_pass_end_and_fails_what_waits():
    async def story(engine, backend):
        backend.gate.clear()
        under_way = asyncio.ensure_future(engine.infer([sequence(100)]))
        await backend.running()
        waiting = asyncio.ensure_future(engine.infer([sequence(101)]))
        await queue_up()
        closing = asyncio.ensure_future(asyncio.to_thread(engine.close))
        with pytest.raises(Backend, match="stopping"):
            await waiting
        backend.gate.set()
        await closing
        assert len((await under_way).outputs) == 1
        with pytest.raises(Backend, match="stopping"):
            await engine.infer([sequence(102)])

    backend = EchoBackend()
    with engine_of(backend) as engine:
        run(story(engine, backend))


def test_an_asker_whose_loop_has_ended_does_not_end_the_worker():
    backend = EchoBackend()
    with engine_of(backend) as engine:
        backend.gate.clear()

        async def leave():
            asker = asyncio.ensure_future(engine.infer([sequence(100)]))
            await backend.running()
            assert not asker.done()

        run(leave())
        backend.gate.set()
        assert len(run(engine.infer([sequence(101)])).outputs) == 1


def test_times_are_means_over_the_inputs():
    with engine_of(EchoBackend()) as engine:
        inference = run(engine.infer([sequence(100), sequence(101)]))
    assert inference.queue_s >= 0
    assert inference.inference_s > 0


def load(folder, **options):
    defaults = {
        "pooling": None,
        "late_interaction": False,
        "workers": 1,
        "tokenization_workers": 1,
        "batch_tokens": 512,
        "max_batch_tokens": 16_384,
        "max_concurrent_requests": 512,
        "registry": Registry(TEI),
    }
    return Engine.load(folder, **defaults | options)


def test_an_input_length_over_max_batch_tokens_is_refused_at_load():
    with pytest.raises(ModelError, match="max_batch_tokens is 255, below the model's input length of 256"):
        load(builtin_model(), max_batch_tokens=255)


def test_closing_ends_every_thread_that_loading_started():
    before = set(threading.enumerate())
    engine = load(builtin_model(), workers=2)
    run(engine.encode(["a"], truncate=True, direction="right", prompt=None))
    engine.close()
    assert set(threading.enumerate()) - before == set()
