"""A steered balancer sends requests to the replicas that infer and are not drained."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from embedfleet.control.balancers.probed import ProbedBalancer
from embedfleet.types import Endpoint
from tests.services.files import no_files
from tests.services.gateway import run
from tests.services.replica import FakeReplica


class Steered:
    """A balancer that records its orders."""

    may_start = True

    def __init__(self) -> None:
        self.serving: list[str] = []
        self.resting: dict[str, str] = {}

    async def apply(self, serving, resting) -> None:
        self.serving = [endpoint.id for endpoint in serving]
        self.resting = {endpoint.id: reason for endpoint, reason in resting}


class Watch:
    def __init__(self, balancer: ProbedBalancer, steered: Steered, replicas: list[FakeReplica]) -> None:
        self.balancer, self.steered, self.replicas = balancer, steered, replicas
        self.endpoints = [replica.endpoint(f"r{number}") for number, replica in enumerate(replicas)]

    async def states(self) -> dict[str, str]:
        return {row.id: row.state for row in await self.balancer.reports()}

    async def until_serving(self, *names: str) -> None:
        while self.steered.serving != list(names):
            await asyncio.sleep(0)


@asynccontextmanager
async def watch(count: int = 2, interval_s: float = 0.01) -> AsyncIterator[Watch]:
    replicas = [await FakeReplica(float(number)).start() for number in range(count)]
    steered = Steered()
    balancer = ProbedBalancer(interval_s=interval_s, timeout_s=5, steering=steered, changed=lambda: None)
    made = Watch(balancer, steered, replicas)
    try:
        await balancer.publish(made.endpoints, set())
        await made.until_serving(*(endpoint.id for endpoint in made.endpoints))
        yield made
    finally:
        await balancer.close()
        for replica in replicas:
            await replica.kill()


def test_a_drained_replica_gets_no_requests_until_it_is_undrained():
    async def go():
        async with watch() as made:
            await made.balancer.publish(made.endpoints, {"r0"})
            assert (made.steered.serving, made.steered.resting) == (["r1"], {"r0": "drained by hand"})
            assert await made.states() == {"r0": "drained", "r1": "active"}
            await made.balancer.publish(made.endpoints, {"r0"})  # as after a restart of its neighbour
            assert made.steered.serving == ["r1"]
            await made.balancer.publish(made.endpoints, set())
            assert made.steered.serving == ["r0", "r1"], "it was probed while it was drained"
            assert await made.states() == {"r0": "active", "r1": "active"}

    run(go)


def test_a_replica_that_cannot_be_probed_without_open_files_keeps_serving(caplog):
    async def go():
        async with watch() as made:
            with no_files():
                while sum("cannot be probed" in line for line in caplog.messages) < 4:
                    await asyncio.sleep(0)
            assert made.steered.serving == ["r0", "r1"]
            assert await made.states() == {"r0": "active", "r1": "active"}

    run(go)


def test_if_the_others_fail_the_drained_replica_still_gets_nothing():
    async def go():
        async with watch(3) as made:
            await made.balancer.publish(made.endpoints, {"r0"})
            for replica in made.replicas[1:]:
                replica.probe_mode = 424
            while set((await made.states()).values()) != {"drained", "ejected"}:
                await asyncio.sleep(0)
            assert "r0" not in made.steered.serving
            assert made.steered.serving, "the former ones get requests, because some may succeed"

    run(go)


def test_even_the_only_working_replica_can_be_drained():
    async def go():
        async with watch() as made:
            made.replicas[1].probe_mode = 424
            await made.until_serving("r0")
            await made.balancer.publish(made.endpoints, {"r0"})
            assert made.steered.serving == []
            assert made.steered.resting["r0"] == "drained by hand"
            assert (await made.states())["r0"] == "drained"

    run(go)


def test_if_the_last_replica_moves_nginx_keeps_its_old_address():
    async def go():
        async with watch(1) as made:
            await made.balancer.publish([Endpoint("r0", "http://127.0.0.1:1")], set())
            assert made.steered.serving == ["r0"], "nginx keeps the old address"

    run(go)


def test_of_two_new_replicas_with_different_models_only_one_serves():
    async def go():
        made = [await FakeReplica(float(number)).start() for number in range(2)]
        made[1].info |= {"model_id": "/models/other"}
        for replica in made:
            replica.probe_mode = "hold"
        steered = Steered()
        balancer = ProbedBalancer(interval_s=0.01, timeout_s=5, steering=steered, changed=lambda: None)
        await balancer.publish([replica.endpoint(f"r{number}") for number, replica in enumerate(made)], set())
        while not all(replica.probes_held for replica in made):
            await asyncio.sleep(0)
        for replica in made:
            replica.probe_mode = 200
            replica.answer(replica.probes_held.popleft())
        while not any(row.reason for row in await balancer.reports()):
            assert len(steered.serving) < 2
            await asyncio.sleep(0)
        (reason,) = [row.reason for row in await balancer.reports() if row.reason]
        assert "model is '" in reason
        assert len(steered.serving) <= 1
        await balancer.close()
        for replica in made:
            await replica.kill()

    run(go)


def test_a_replica_that_returns_with_another_model_waits_for_permission():
    async def go():
        async with watch() as made:
            made.replicas[1].vector = [4.0, 3.0]
            await made.until_serving("r0")
            assert "cosine" in made.steered.resting["r1"]
            assert "embedfleet up --new-model" in made.steered.resting["r1"]
            await made.balancer.allow_new_model()
            await made.until_serving("r1")
            assert "cosine" in made.steered.resting["r0"]
            made.replicas[0].vector = [4.0, 3.0]
            await made.until_serving("r0", "r1")

    run(go)


def test_behind_nginx_a_serving_replica_is_not_ejected_for_effects_of_its_batch():
    async def go():
        sparse = {"model_type": {"embedding": {"pooling": "splade"}}}
        replica = FakeReplica()
        replica.info |= sparse
        replica.weights = {7: 1.0, 9: 0.5}
        await replica.start()
        steered = Steered()
        balancer = ProbedBalancer(interval_s=0.01, timeout_s=5, steering=steered, changed=lambda: None)
        await balancer.publish([replica.endpoint("r0")], set())
        while steered.serving != ["r0"]:
            await asyncio.sleep(0)
        replica.weights, probes = {7: 1.0, 8: 0.9}, replica.probes
        while replica.probes < probes + 5:
            await asyncio.sleep(0)
        assert [row.state for row in await balancer.reports()] == ["active"]
        await balancer.close()
        await replica.kill()

    run(go)


def test_another_process_on_a_replicas_port_is_probed_at_once():
    async def go():
        async with watch(interval_s=3600) as made:
            port = made.replicas[1].server.port
            await made.replicas[1].kill()
            made.replicas[1].vector = [4.0, 3.0]
            await made.replicas[1].start(port)
            await made.until_serving("r0")

    run(go)
