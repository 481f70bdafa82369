"""The engine: each request gets its own answers, and a failed or cancelled request affects no other."""

import asyncio
import threading

import pytest

from embedfleet.engine.engine import Engine, load
from embedfleet.engine.loaded_model import LoadedModel
from embedfleet.engine.settings import EngineSettings
from embedfleet.errors import Backend, Overloaded, Unhealthy
from embedfleet.metrics import TEI, Registry
from tests.services.echo import SPEC, TOKENIZATION, EchoBackend, engine_of, queue_up, run, sequence


@pytest.mark.parametrize("workers", [1, 3])
def test_every_request_gets_its_own_outputs_in_its_own_order(workers):
    async def ask(engine, start):
        inputs = [sequence(*range(start + n, start + 2 * n + 1)) for n in (5, 0, 9, 1, 5)]
        inference = await engine.infer(inputs)
        got = [rows[:, 0].astype(int).tolist() for (rows,) in inference.outputs]
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
        tasks = [asyncio.ensure_future(engine.infer([sequence(*[number] * 60)])) for number in (100, 101)]
        await backend.running()
        await backend.running()
        backend.gate.set()
        await asyncio.gather(*tasks)

    backend = EchoBackend()
    with engine_of(backend, workers=2) as engine:
        run(story(engine, backend))


def test_waiting_inputs_of_a_cancelled_request_never_run():
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


def test_a_request_cancelled_during_its_pass_affects_no_other():
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


def test_a_request_whose_loop_has_ended_does_not_end_the_worker():
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


def test_an_engine_has_no_thread_before_start():
    before = set(threading.enumerate())
    model = LoadedModel(SPEC, TOKENIZATION, EchoBackend(), None)
    engine = Engine(model, EngineSettings(worker_threads=2), Registry(TEI))
    assert set(threading.enumerate()) == before
    engine.start()
    assert {thread.name for thread in set(threading.enumerate()) - before} == {"forward-0", "forward-1"}
    engine.close()
    assert set(threading.enumerate()) == before


def test_closing_ends_every_thread_that_loading_started():
    before = set(threading.enumerate())
    engine = load(EngineSettings(worker_threads=2), Registry(TEI))
    run(engine.encode(["a"], truncate=True, direction="right", prompt=None))
    engine.close()
    assert set(threading.enumerate()) - before == set()
