"""Calibration of a new replica: the cost of its batches, and its limits."""

import asyncio
from dataclasses import replace

import orjson
import pytest

from embedfleet.gateway.calibration import SIZES, Calibration, wanted
from embedfleet.gateway.dispatch.capabilities import Capabilities
from embedfleet.probe.prober import Prober
from embedfleet.simulation.batch_cost import BatchCost
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
            assert tei.replica.tokens == done, "a replica is measured once"
            return cost

    return asyncio.run(go())


def test_a_slow_replica_is_found_slower_than_a_quick_one():
    quick = measured(cost=BatchCost(a_s=0.001, b_s=1e-6))
    slow = measured(cost=BatchCost(a_s=0.02, b_s=1e-4))
    assert slow.a_s > quick.a_s
    assert slow.b_s > 10 * quick.b_s


@pytest.mark.parametrize("kind", ["embedding", "reranker", "classifier"])
def test_every_kind_of_model_is_measured_on_its_own_route(kind):
    assert measured(kind=kind, cost=BatchCost(a_s=0.001, b_s=1e-5)).b_s > 0


def test_sizes_are_within_the_limits_of_the_replica():
    assert wanted(Capabilities()) == list(SIZES)
    assert [size.tokens for size in wanted(Capabilities(batch_texts=4))] == [8, 128, 512, 2048]
    assert [size.tokens for size in wanted(Capabilities(input_tokens=256))] == [8, 128, 256, 1024, 4096]
    assert [size.tokens for size in wanted(Capabilities(batch_tokens=600))] == [8, 128, 512]
    assert [size.texts for size in wanted(Capabilities(), 8)] == [1, 1, 1, 4, 8]
    assert wanted(Capabilities(), None) == wanted(Capabilities(), "8") == wanted(Capabilities(), 0) == list(SIZES)


def test_a_replica_that_cannot_be_measured_serves_all_the_same():
    async def go():
        async with gateway(0, calibrate=True) as g:
            replica = await FakeReplica().start()
            replica.mode = 500
            g.app.proxy.set_members((replica.endpoint("r"),))
            await g.until_active(1)
            assert replica.seen, "the measurement was tried"
            replica.mode = 200
            assert (await g.embed()).status == 200
            await replica.kill()

    run(go)


def test_limits_that_info_does_not_state_are_those_of_tei():
    assert Capabilities.of({}) == Capabilities()
    assert (
        Capabilities.of({"max_batch_tokens": None, "max_client_batch_size": True, "max_input_length": 0})
        == Capabilities()
    )
    told = Capabilities.of({"max_batch_tokens": 1, "max_client_batch_size": 2, "max_concurrent_requests": 3})
    assert (told.batch_tokens, told.batch_texts, told.permits) == (1, 2, 3)
    assert Capabilities.of({"max_client_batch_size": 32, "max_concurrent_requests": 8}).batch_texts == 8


@pytest.mark.parametrize("told", [b"0", b"-1", b"many", b"9" * 40])
def test_an_invalid_token_count_is_ignored(told):
    async def go():
        replica = await FakeReplica().start()
        replica.tokens = told
        cost = await Calibration().cost(replica.endpoint("r"), replica.info)
        await replica.kill()
        return cost

    cost = asyncio.run(go())
    assert 0 < cost.b_s < 1e-3, "the estimate comes from the lengths of the texts"


def test_no_text_is_sent_twice():
    async def go():
        replica = await FakeReplica().start()
        await Calibration().cost(replica.endpoint("r"), replica.info)
        await replica.kill()
        return [text for exchange in replica.seen for text in orjson.loads(exchange.body)["inputs"]]

    texts = asyncio.run(go())
    long = [text for text in texts if len(text) > 100]
    assert len(set(long)) == len(long) == 2 * (1 + 1 + 4 + 16)
    assert max(len(text.split()) for text in texts) == 510, "the tokenizer adds two"


class Steps:
    """A clock that advances by given steps at each reading."""

    def __init__(self, *steps: float) -> None:
        self.now, self.steps = 0.0, list(steps)

    def __call__(self) -> float:
        self.now += self.steps.pop(0) if self.steps else 0.0
        return self.now


def asked(*steps: float) -> int:
    """Count the batches that a calibration sends, with a clock that advances by these steps."""

    async def go():
        replica = await FakeReplica().start()
        replica.tokens = b"unknown"
        cost = await Calibration(Steps(*steps)).cost(replica.endpoint("r"), replica.info)
        await replica.kill()
        assert cost is not None
        return len(replica.seen)

    return asyncio.run(go())


def test_a_slow_replica_gets_few_batches():
    begin, trial = (0.0,), lambda seconds: (0.0, 0.0, seconds)
    assert asked(*begin, *trial(0.52), *trial(0.53)) == 2, "no batch after a slow one, although there is time"
    assert asked(*begin, *trial(0.15), *trial(0.48), *trial(0.2)) == 2, "no batch that would take too long"
    assert asked(*begin, *trial(1.2), *trial(0.9)) == 2, "at least two batches, and none when the time is over"
    assert asked(*begin) == 2 * len(SIZES), "each size twice, of which the better time counts"


def test_a_batch_without_an_answer_in_time_counts_with_that_time():
    async def go():
        async with fake_tei(cost=BatchCost(a_s=0.05, b_s=0.01, batch_tokens=600)) as tei:
            endpoint = Endpoint("r", f"http://127.0.0.1:{tei.replica.port}")
            cost = await Calibration(budget_s=0.6).cost(endpoint, tei.replica.settings.info())
            assert [number for number in tei.replica.counts.elements() if number == "200"] == ["200"]
            return cost

    assert asyncio.run(go()).b_s > 10 * BatchCost().b_s


def test_a_replica_that_is_busy_for_others_is_not_measured():
    async def go():
        replica = await FakeReplica().start()
        replica.mode = 429
        cost = await Calibration().cost(replica.endpoint("r"), replica.info)
        await replica.kill()
        return cost

    assert asyncio.run(go()) is None


def test_only_a_changed_replica_or_one_that_was_away_is_measured_again():
    async def go():
        replica = await FakeReplica().start()
        now = 0.0
        calibration = Calibration(lambda: now)
        endpoint = replica.endpoint("r")

        async def is_measured(info, absences) -> bool:
            replica.seen.clear()
            await calibration.cost(endpoint, info, absences)
            return bool(replica.seen)

        assert await is_measured(replica.info, 0)
        now = 1000.0
        assert not await is_measured(replica.info, 0), "it has been there all the time, so it is the same process"
        assert await is_measured(replica.info, 1), "it has been away, so it may be another process"
        now = 1010.0
        assert not await is_measured(replica.info, 2), "it was measured a moment ago"
        assert await is_measured(replica.info | {"version": "1.9.4"}, 2), "its info has changed"
        endpoint = replace(endpoint, url=endpoint.url + "/")
        assert await is_measured(replica.info | {"version": "1.9.4"}, 2), "its address has changed"
        await replica.kill()

    asyncio.run(go())


def test_a_probe_of_a_serving_replica_does_not_measure_it_again():
    async def go():
        async with gateway(0, calibrate=True) as g:
            replica = await FakeReplica().start()
            g.app.proxy.set_members((replica.endpoint("r"),))
            await g.until_active(1)
            count = len(replica.seen)
            pace = g.app.proxy.dispatcher.replicas["r"].pace
            pace.slowness = 3.0
            await g.app.probing._probe(replica.endpoint("r"))
            assert (len(replica.seen), pace.slowness) == (count, 3.0)
            await replica.kill()

    run(go)


def test_only_one_of_two_different_replicas_that_join_together_serves():
    async def go():
        async with gateway(0) as g:
            made = [await FakeReplica(float(number)).start() for number in range(2)]
            made[1].info |= {"model_sha": "2", "model_type": {"embedding": {"pooling": "cls"}}}
            made[0].info |= {"model_sha": "1"}
            for replica in made:
                replica.probe_mode = "hold"
            g.app.proxy.set_members(tuple(replica.endpoint(f"r{n}") for n, replica in enumerate(made)))
            await g.until(lambda: all(replica.probes_held for replica in made))
            for replica in made:
                replica.probe_mode = 200
                replica.answer(replica.probes_held.popleft())
                await g.until(lambda: any(row["state"] == "active" for row in g.app.status()))
            await g.until(lambda: all(row["state"] == "active" or row["reason"] for row in g.app.status()))
            (reason,) = [row["reason"] for row in g.app.status() if row["state"] != "active"]
            assert any(f"revision is '{own}', the pool's is '{pool}'" in reason for own, pool in ("12", "21"))
            assert "pooling is '" in reason
            for replica in made:
                await replica.kill()

    run(go)


def test_only_a_refused_or_broken_connection_counts_as_an_absence():
    async def go():
        prober = Prober(5)
        replica = await FakeReplica().start()
        endpoint = replica.endpoint("r")
        for mode in (200, 424, 429, "nulls", 200):
            replica.probe_mode = mode
            assert bool(await prober.probe(endpoint, [])) == (mode != 200)
        assert prober.absences("r") == 0
        replica.probe_mode = "reset"
        assert await prober.probe(endpoint, [])
        assert prober.absences("r") == 1
        await replica.kill()
        assert await prober.probe(endpoint, [])
        assert prober.absences("r") == 2

    asyncio.run(go())
