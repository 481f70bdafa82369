"""A child that dies or cannot be started is started again, without an effect on the others."""

import pytest

from embedfleet.control.lifecycle.reconcile import Backoff
from embedfleet.control.plan.specs import ProcessSpec
from embedfleet.errors import UsageError
from tests.services.supervisor import run, serving, world


def test_a_replica_that_died_is_started_where_it_was(tmp_path):
    async def test() -> None:
        async with serving(tmp_path) as made:
            port = made.ports[1]
            made.driver.running["s-1"].end(-9)
            await made.until(lambda: made.driver.count("s-1") == 2)
            assert made.driver.starts[-1] == ("s-1", port)
            assert made.driver.count("s-0") == 1
            await made.until_published(*made.ports)

    run(test)


def test_a_gateway_that_died_is_restarted_and_gets_its_replicas_again(tmp_path):
    async def test() -> None:
        async with serving(tmp_path) as made:
            made.gateway.members = []
            made.driver.running["s-gateway"].end(-11)
            await made.until_published(*made.ports)
            assert made.driver.count("s-gateway") == 2

    run(test)


def test_a_child_that_could_not_be_started_is_tried_again(tmp_path):
    async def test() -> None:
        async with world(tmp_path) as made:
            made.driver.unstartable["s-0"] = 2
            await made.listen()
            made.run()
            await made.until(lambda: len(made.gateway.members) == 2)
            assert made.child("s-0").observed.restarts == 2

    run(test)


def test_a_child_that_served_before_is_started_again_whatever_its_code(tmp_path):
    async def test() -> None:
        async with serving(tmp_path) as made:
            made.driver.ends["s-0"] += [2, 1]
            made.driver.running["s-0"].end(1)
            await made.until(lambda: made.driver.count("s-0") == 4)
            await made.until_published(*made.ports)

    run(test)


@pytest.mark.parametrize("fault", [UsageError("it is somebody else's", "rename that"), KeyError("State"), OSError("x")])
def test_a_replica_that_cannot_be_started_while_the_fleet_serves_costs_no_other(tmp_path, fault):
    async def test() -> None:
        async with serving(tmp_path) as made:
            made.supervisor.has_started = True
            made.driver.faults["s-0"] = [fault, fault]
            made.driver.running["s-0"].end(1)
            await made.until(lambda: made.driver.count("s-0") == 2)
            await made.until_published(*made.ports)
            assert made.child("s-0").observed.restarts == 3
            assert not made.driver.running["s-1"].told
            assert made.driver.count("s-gateway") == 1

    run(test)


def test_why_a_replica_cannot_be_started_is_its_reason_until_it_is(tmp_path):
    async def test() -> None:
        async with world(tmp_path, backoff=Backoff(first_s=0.01, longest_s=0.01)) as made:
            await made.listen()
            made.run()
            await made.until(lambda: len(made.gateway.members) == 2)
            made.supervisor.has_started = True
            made.driver.faults["s-0"] = [UsageError("it is somebody else's", "rename that")] * 10_000
            made.driver.running["s-0"].end(1)
            child = made.child("s-0")
            await made.until(lambda: bool(child.start_fault))
            assert (await made.service.reports())["s-0"].reason == "it is somebody else's (rename that)"
            made.driver.faults["s-0"].clear()
            await made.until(lambda: made.driver.count("s-0") == 2)
            assert child.start_fault == ""
            assert (await made.service.reports())["s-0"].reason == ""

    run(test)


def test_a_gateway_that_died_accepts_once_a_replica_serves(tmp_path):
    async def test() -> None:
        async with serving(tmp_path, listens=True) as made:
            made.gateway.state = "joining"
            made.driver.running["s-gateway"].end(-9)
            await made.until(lambda: made.driver.count("s-gateway") == 2)
            started = made.driver.specs[-1]
            assert isinstance(started, ProcessSpec)
            assert started.arguments == ("--listen-later",)
            await made.until(lambda: made.gateway.asked > 2)
            assert made.gateway.orders == []
            made.gateway.state = "active"
            await made.until(lambda: made.gateway.orders == ["/listen"])

    run(test)
