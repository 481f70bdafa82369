"""Equal inputs of all requests are computed once, and cached if the settings say so."""

import asyncio

import numpy as np
import pytest

from embedfleet.engine.batching.cache import Cache, key_of
from embedfleet.engine.batching.choosing import BatchLimits, choose_batch
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


def test_what_is_computed_is_computed_anew_for_who_comes_later():
    backend = EchoBackend()
    with engine_of(backend) as engine:
        for _ in range(2):
            run(engine.infer([sequence(*LONG)]))
    assert backend.batches == [[list(LONG)]] * 2


def test_one_asker_who_leaves_takes_nothing_from_the_other():
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


def test_an_input_that_all_its_waiters_left_never_runs_and_can_be_asked_again():
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


def test_all_who_asked_for_what_cannot_be_computed_are_told():
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


def test_what_is_remembered_is_not_computed_again_and_is_the_same():
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
def test_neither_token_states_nor_what_proves_health_is_remembered(wanted):
    short = sequence(*(LONG if wanted is (Output.STATES,) else [1, 2, 3]))
    backend = EchoBackend()
    with engine_of(backend, cache_mb=1) as engine:
        for _ in range(2):
            run(engine.infer([short], wanted))
    assert len(backend.batches) == 2


def test_a_failure_is_not_remembered():
    backend = EchoBackend()
    with engine_of(backend, cache_mb=1) as engine:
        backend.broken = True
        with pytest.raises(Backend):
            run(engine.infer([sequence(*LONG)], (Output.VECTOR,)))
        backend.broken = False
        assert len(run(engine.infer([sequence(*LONG)], (Output.VECTOR,))).outputs) == 1


def test_the_cache_stays_within_its_bytes_and_forgets_what_was_not_used_longest():
    registry = Registry(TEI)
    cache = Cache(3000, registry)
    encoded, vector = sequence(*LONG), np.zeros(100, dtype=np.float32)

    def known(key):
        return cache.find(key, (Output.VECTOR,), encoded) is not None

    for key in (b"a", b"b", b"c", b"c", b"d"):
        cache.keep(key, vector, (Output.VECTOR,), encoded)
    assert registry["te_cache_bytes"].value().value <= 3000
    assert known(b"a")
    cache.keep(b"e", vector, (Output.VECTOR,), encoded)
    assert [known(key) for key in (b"a", b"b", b"c", b"d", b"e")] == [True, False, True, True, True]
    cache.keep(b"f", np.zeros(1000, dtype=np.float32), (Output.VECTOR,), encoded)
    assert not known(b"f"), "larger than the whole"
    assert known(b"a")


def test_keys_differ_by_everything_an_output_depends_on():
    pair = sequence(1, 2)
    typed = type(pair)(pair.ids, np.array([0, 1]), pair.special, 2)
    keys = {
        key_of((Output.VECTOR,), pair),
        key_of((Output.STATES,), pair),
        key_of((Output.VECTOR,), typed),
        key_of((Output.VECTOR,), sequence(1, 2, 0)),
        key_of((Output.VECTOR,), sequence(1)),
    }
    assert len(keys) == 5
    assert key_of((Output.VECTOR,), sequence(1, 2)) in keys


def test_without_padding_inputs_run_by_age_while_there_is_room_and_equals_stand_together():
    limits = BatchLimits(tokens=100, padding=None, inputs=4)
    assert choose_batch([60, 5, 30, 6, 1], limits) == [4, 1, 2, 0]
    assert choose_batch([60, 50, 45, 30, 20, 10], limits) == [5, 3, 0]
    assert choose_batch([7, 5, 7, 5], limits) == [1, 3, 0, 2]
    assert choose_batch([1] * 9, limits) == [0, 1, 2, 3]
    assert choose_batch([500, 1], limits) == [0]
