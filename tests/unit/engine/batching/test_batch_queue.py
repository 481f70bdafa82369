"""Equal inputs of all requests are computed once, and cached if the settings say so."""

import asyncio

import pytest

from embedfleet.engine.compute.output import Output
from embedfleet.errors import Backend
from embedfleet.metrics import TEI, Registry
from tests.services.echo import POISON, EchoBackend, engine_of, queue_up, run, sequence

LONG = range(100, 120)
OTHER = range(200, 220)


def ids(inference):
    return [rows[:, 0].astype(int).tolist() for (rows,) in inference.outputs]


def ask(engine, *inputs, outputs=()):
    return asyncio.ensure_future(engine.infer([sequence(*item) for item in inputs], outputs))


def test_equal_inputs_of_one_request_are_computed_once_and_answered_each():
    backend = EchoBackend()
    with engine_of(backend) as engine:
        inference = run(engine.infer([sequence(*item) for item in ([5], [6, 7], [5], [5])]))
    assert ids(inference) == [[5], [6, 7], [5], [5]]
    assert sorted(row for batch in backend.batches for row in batch) == [[5], [6, 7]]


def test_equal_inputs_of_requests_that_wait_and_of_one_under_way_are_computed_once():
    async def story(engine, backend):
        backend.gate.clear()
        first = ask(engine, [1])
        await backend.running()
        others = [ask(engine, [1]), ask(engine, [2], [1]), ask(engine, [2])]
        await queue_up()
        assert engine.queued == 1
        backend.gate.set()
        answers = await asyncio.gather(first, *others)
        assert [ids(answer) for answer in answers] == [[[1]], [[1]], [[2], [1]], [[2]]]
        assert backend.batches == [[[1]], [[2]]]
        assert all(answer.queue_s >= 0 and answer.inference_s > 0 for answer in answers)

    backend, registry = EchoBackend(), Registry(TEI)
    with engine_of(backend, registry=registry) as engine:
        run(story(engine, backend))
    assert registry["te_shared_inputs"].value().value == 3


def test_a_computed_input_is_computed_again_for_a_later_request():
    backend = EchoBackend()
    with engine_of(backend) as engine:
        for _ in range(2):
            run(engine.infer([sequence(*LONG)]))
    assert backend.batches == [[list(LONG)]] * 2


def test_a_cancelled_request_takes_no_answer_from_another():
    async def story(engine, backend, leaves_first):
        backend.gate.clear()
        busy = ask(engine, [1])
        await backend.running()
        waiters = [ask(engine, [2]), ask(engine, [2])]
        await queue_up()
        leaver = waiters.pop(0 if leaves_first else 1)
        leaver.cancel()
        await asyncio.gather(leaver, return_exceptions=True)
        backend.gate.set()
        assert ids(await waiters[0]) == [[2]]
        await busy
        assert backend.batches == [[[1]], [[2]]]

    for leaves_first in (True, False):
        backend = EchoBackend()
        with engine_of(backend) as engine:
            run(story(engine, backend, leaves_first))


def test_an_input_that_no_request_waits_for_never_runs_and_can_be_requested_again():
    async def story(engine, backend):
        backend.gate.clear()
        busy = ask(engine, [1])
        await backend.running()
        leavers = [ask(engine, [2]), ask(engine, [2])]
        await queue_up()
        for leaver in leavers:
            leaver.cancel()
        await asyncio.gather(*leavers, return_exceptions=True)
        backend.gate.set()
        await busy
        await ask(engine, [3])
        assert backend.batches == [[[1]], [[3]]]
        assert ids(await ask(engine, [2])) == [[2]]

    backend = EchoBackend()
    with engine_of(backend) as engine:
        run(story(engine, backend))


def test_all_requests_with_an_input_that_cannot_be_computed_fail():
    async def story(engine):
        answers = await asyncio.gather(*(ask(engine, [POISON]) for _ in range(3)), return_exceptions=True)
        assert all(isinstance(answer, Backend) for answer in answers)

    with engine_of(EchoBackend()) as engine:
        run(story(engine))


def test_states_and_vectors_of_one_input_are_two_things():
    async def story(engine):
        states, vectors = await asyncio.gather(ask(engine, [3, 5]), ask(engine, [3, 5], outputs=(Output.VECTOR,)))
        assert states.outputs[0][0].tolist() == [[3, 3], [5, 5]]
        assert vectors.outputs[0][0].tolist() == [4, 4]

    with engine_of(EchoBackend()) as engine:
        run(story(engine))


def test_a_cached_output_is_the_same_and_not_computed_again():
    backend, registry = EchoBackend(), Registry(TEI)
    with engine_of(backend, cache_mb=1, registry=registry) as engine:
        first = run(engine.infer([sequence(*LONG)], (Output.VECTOR,)))
        mixed = run(engine.infer([sequence(*OTHER), sequence(*LONG)], (Output.VECTOR,)))
        again = run(engine.infer([sequence(*LONG)], (Output.VECTOR,)))
    assert backend.batches == [[list(LONG)], [list(OTHER)]]
    assert again.outputs[0][0].tobytes() == mixed.outputs[1][0].tobytes() == first.outputs[0][0].tobytes()
    assert (again.queue_s, again.inference_s) == (0, 0)
    assert registry["te_cache_hits"].value().value == 2
    assert registry["te_cache_misses"].value().value == 2


@pytest.mark.parametrize("wanted", [(Output.STATES,), (Output.VECTOR,)])
def test_neither_token_states_nor_probes_are_cached(wanted):
    short = sequence(*(LONG if wanted is (Output.STATES,) else [1, 2, 3]))
    backend = EchoBackend()
    with engine_of(backend, cache_mb=1) as engine:
        for _ in range(2):
            run(engine.infer([short], wanted))
    assert len(backend.batches) == 2


def test_a_failure_is_not_cached():
    backend = EchoBackend()
    with engine_of(backend, cache_mb=1) as engine:
        backend.broken = True
        with pytest.raises(Backend):
            run(engine.infer([sequence(*LONG)], (Output.VECTOR,)))
        backend.broken = False
        assert len(run(engine.infer([sequence(*LONG)], (Output.VECTOR,))).outputs) == 1
