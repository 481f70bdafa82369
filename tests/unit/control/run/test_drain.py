"""A drained replica stays drained through restarts, and does not count as broken."""

import asyncio

import pytest

from embedfleet.control.run.api import fleet_status
from embedfleet.control.run.drain import drain, serving_without, undrain
from embedfleet.control.run.readiness import until_serving
from embedfleet.errors import UsageError
from embedfleet.types import Endpoint, ReplicaReport, ReplicaState
from tests.services.supervisor import LIMIT_S, found, run, serving, world


def test_the_order_is_repeated_to_a_restarted_balancer(tmp_path):
    async def test() -> None:
        async with serving(tmp_path) as made:
            await made.until_drained(s0=None, s1=None)
            await drain(made.supervisor, "s-0", force=False)
            await made.until_drained(s0=True, s1=None)
            made.gateway.members = []
            made.driver.running["s-gateway"].end(-11)
            await made.until_drained(s0=True, s1=None)
            made.driver.running["s-0"].end(-9)
            await made.until(lambda: made.driver.count("s-0") == 2)
            await made.until_drained(s0=True, s1=None)
            undrain(made.supervisor, "s-0")
            await made.until_drained(s0=False, s1=None)
            made.driver.running["s-1"].end(-9)
            await made.until_drained(s0=None, s1=None)

    run(test)


def test_a_replica_is_draining_until_the_balancer_has_acted(tmp_path):
    async def test() -> None:
        async with serving(tmp_path) as made:
            made.child("s-0").is_drained = True
            assert await made.states() == {"s-0": "draining", "s-1": "active"}
            made.supervisor.set_drained(made.child("s-0"), is_drained=True)
            await made.until_drained(s0=True, s1=None)
            assert await made.states() == {"s-0": "drained", "s-1": "active"}

    run(test)


def test_the_last_serving_replica_is_drained_only_by_force(tmp_path):
    async def test() -> None:
        async with serving(tmp_path) as made:
            await drain(made.supervisor, "s-0", force=False)
            with pytest.raises(UsageError, match="no other replica of s serves") as caught:
                await drain(made.supervisor, "s-1", force=False)
            assert "--force" in caught.value.hint
            assert not made.child("s-1").is_drained
            await drain(made.supervisor, "s-0", force=False)  # it is drained already, and s-1 serves
            await drain(made.supervisor, "s-1", force=True)
            await made.until_drained(s0=True, s1=True)

    run(test)


def test_a_replica_whose_neighbour_has_failed_is_not_drained(tmp_path):
    async def test() -> None:
        async with serving(tmp_path) as made:
            made.gateway.state = "ejected"
            with pytest.raises(UsageError, match="no other replica of s serves"):
                await drain(made.supervisor, "s-0", force=False)

    run(test)


def test_serving_without_a_replica_leaves_the_others_that_serve():
    states = {"a": "active", "b": "outdated", "c": "ejected", "d": "active"}
    rows = {name: ReplicaReport(Endpoint(name, ""), ReplicaState(state)) for name, state in states.items()}
    assert serving_without("a", rows, set()) == {"b", "d"}
    assert serving_without("a", rows, {"d"}) == {"b"}
    assert serving_without("d", {"c": rows["c"], "d": rows["d"]}, set()) == set()


@pytest.mark.parametrize("name", ["s-7", "s-gateway", "", "s-0/x", "s 0%"])
def test_an_unknown_name_is_refused_with_the_known_ones(tmp_path, name):
    async def test() -> None:
        async with serving(tmp_path) as made:
            for attempt in (
                lambda: drain(made.supervisor, name, force=True),
                lambda: asyncio.to_thread(undrain, made.supervisor, name),
            ):
                with pytest.raises(UsageError, match=f"there is no replica {name}") as caught:
                    await attempt()
                assert caught.value.hint == "there are: s-0, s-1"

    run(test)


def test_a_fleet_with_a_drained_replica_counts_as_serving(tmp_path):
    async def test() -> None:
        async with serving(tmp_path) as made:
            await drain(made.supervisor, "s-0", force=False)
            await until_serving(made.supervisor, LIMIT_S, lambda _: None)
            (service,) = (await fleet_status(made.supervisor)).services
            assert [row.process.phase for row in service.replicas] == ["ready", "ready"]
            assert made.driver.count("s-0") == 1, "it was not started again"

    run(test)


def test_a_drained_neighbour_does_not_delay_a_replacement(tmp_path):
    async def test() -> None:
        async with world(tmp_path, replicas=3) as made:
            made.driver.found = found("s-2", is_stale=True)
            made.child("s-0").is_drained = True
            await made.listen()
            made.run()
            await made.until(lambda: made.driver.count("s-2") == 1)
            await made.until_drained(s0=True, s1=None, s2=None)

    run(test)


def test_a_replacement_waits_while_all_neighbours_are_drained(tmp_path):
    async def test() -> None:
        async with world(tmp_path) as made:
            made.driver.found = found("s-1", is_stale=True)
            made.child("s-0").is_drained = True
            await made.listen()
            made.run()
            await made.until_drained(s0=True, s1=None)
            assert (await made.states())["s-1"] == "outdated"
            assert made.driver.count("s-1") == 0, "it is the only one that serves"
            undrain(made.supervisor, "s-0")
            await made.until(lambda: made.driver.count("s-1") == 1)

    run(test)
