"""A new replica is measured: what a batch costs it, and what it takes."""

import asyncio

import pytest

from bench.workload import Cost
from embedfleet.gateway.calibration import TRIALS, Calibration, wanted
from embedfleet.gateway.dispatch.replica import Abilities
from embedfleet.types import Endpoint
from tests.services.fake_tei import fake_tei
from tests.services.gateway import gateway, run
from tests.services.replica import FakeReplica


def measured(**settings):
    async def go():
        async with fake_tei(**settings) as tei:
            endpoint = Endpoint("r", f"http://127.0.0.1:{tei.replica.port}")
            calibration = Calibration()
            cost = await calibration.cost(endpoint, tei.replica.settings.info())
            done = tei.replica.tokens
            assert await calibration.cost(endpoint, tei.replica.settings.info()) is cost
            assert tei.replica.tokens == done, "once is enough"
            return cost

    return asyncio.run(go())


def test_a_slow_replica_is_found_slower_than_a_quick_one():
    quick = measured(cost=Cost(a_s=0.001, b_s=1e-6))
    slow = measured(cost=Cost(a_s=0.02, b_s=1e-4))
    assert slow.a_s > quick.a_s
    assert slow.b_s > 10 * quick.b_s


@pytest.mark.parametrize("kind", ["embedding", "reranker", "classifier"])
def test_every_kind_of_model_is_asked_what_it_answers(kind):
    assert measured(kind=kind, cost=Cost(a_s=0.001, b_s=1e-5)).b_s > 0


def test_a_replica_is_asked_for_no_more_than_it_takes():
    assert wanted(Abilities()) == list(TRIALS)
    assert [trial.tokens for trial in wanted(Abilities(batch_texts=4))] == [8, 128, 512, 2048]
    assert [trial.tokens for trial in wanted(Abilities(input_tokens=256))] == [8, 128]
    assert [trial.tokens for trial in wanted(Abilities(batch_tokens=600))] == [8, 128, 512]


def test_a_replica_that_cannot_be_measured_serves_all_the_same():
    async def go():
        async with gateway(0, calibrate=True) as g:
            replica = await FakeReplica().start()
            replica.mode = 500
            g.app.proxy.set_members((replica.endpoint("r"),))
            await g.until_active(1)
            assert replica.seen, "it was asked"
            replica.mode = 200
            assert (await g.embed()).status == 200
            await replica.kill()

    run(go)


def test_what_info_does_not_say_is_as_tei_has_it():
    assert Abilities.of({}) == Abilities()
    assert Abilities.of({"max_batch_tokens": None, "max_client_batch_size": True, "max_input_length": 0}) == Abilities()
    told = Abilities.of({"max_batch_tokens": 1, "max_client_batch_size": 2, "max_concurrent_requests": 3})
    assert (told.batch_tokens, told.batch_texts, told.permits) == (1, 2, 3)
