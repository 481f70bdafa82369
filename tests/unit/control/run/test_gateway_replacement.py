"""A gateway is replaced without a loss, and a failure changes nothing; these gateways are only admin sockets."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from embedfleet.control.balancers.gateway import GatewayBalancer
from embedfleet.control.lifecycle.phase import Phase
from embedfleet.control.plan.specs import ProcessSpec
from embedfleet.errors import FleetError, UpstreamError
from tests.services.driver import FakeGateway, FakeRunning
from tests.services.supervisor import LIMIT_S, World, run, serving


@asynccontextmanager
async def successors(made: World, count: int = 1, state: str = "active") -> AsyncIterator[list[FakeGateway]]:
    """The next gateways of a service, which have yet to be started."""
    gateways = [FakeGateway() for _ in range(count)]
    for number, gateway in enumerate(gateways, 1):
        gateway.state = state
        await gateway.server.start(path=str(made.sockets / f"s.{number}.sock"))
    yield gateways
    for gateway in gateways:
        await gateway.server.stop(0)


def spec(made: World) -> ProcessSpec:
    found = made.service.gateway.spec
    assert isinstance(found, ProcessSpec)
    return replace(found, admin=str(made.sockets / "s.sock"), arguments=("new",))


def running(made: World) -> FakeRunning:
    found = made.service.gateway.running
    assert isinstance(found, FakeRunning)
    return found


def test_a_successor_gets_the_replicas_before_it_accepts_and_the_former_retires(tmp_path):
    async def test() -> None:
        async with serving(tmp_path) as made, successors(made) as (second,):
            former = running(made)
            await made.supervisor.replace_gateway(spec(made), LIMIT_S)
            assert [member["id"] for member in second.members] == ["s-0", "s-1"]
            assert (second.orders, made.gateway.orders) == (["/listen"], ["/retire"])
            assert running(made) is not former
            assert not former.told, "it still has clients"
            former.end(0)
            made.driver.running["s-0"].end(-9)
            await made.until(lambda: made.driver.count("s-0") == 2)
            await made.until(
                lambda: [m["url"] for m in second.members] == [f"http://127.0.0.1:{p}" for p in made.ports]
            )
            assert made.driver.count("s-gateway") == 2, "the end of the former one does not count as a death"

    run(test)


def test_a_dead_successor_is_restarted_with_its_own_spec(tmp_path):
    async def test() -> None:
        async with serving(tmp_path) as made, successors(made) as (second,):
            await made.supervisor.replace_gateway(spec(made), LIMIT_S)
            second.members = []
            made.driver.running["s-gateway"].end(-9)
            await made.until(lambda: len(second.members) == 2)
            started = made.driver.specs[-1]
            assert isinstance(started, ProcessSpec)
            assert (started.arguments, started.admin) == (("new",), str(made.sockets / "s.1.sock"))

    run(test)


@pytest.mark.parametrize("fault", ["never serves", "never listens", "ends", "cannot be started"])
def test_a_successor_that_does_not_serve_changes_nothing(tmp_path, fault):
    async def test() -> None:
        state = "joining" if fault == "never serves" else "active"
        async with serving(tmp_path) as made, successors(made, state=state) as (second,):
            former = running(made)
            if fault == "never listens":
                made.driver.loading.add("s-gateway")
            elif fault == "ends":
                made.driver.ends["s-gateway"].append(2)
            elif fault == "cannot be started":
                made.driver.unstartable["s-gateway"] = 1
            said = {"never serves": "s-0, s-1", "never listens": "listen", "ends": "code 2"}.get(fault, "unavailable")
            with pytest.raises(FleetError, match=said):
                await made.supervisor.replace_gateway(spec(made), 0.1)
            assert running(made) is former
            assert (second.orders, made.gateway.orders) == ([], [])
            if fault != "cannot be started":
                assert made.driver.running["s-gateway"].ended.done(), "nothing is left of it"
            made.driver.running["s-0"].end(-9)
            await made.until_published(*made.ports)

    run(test)


def test_of_many_former_gateways_the_oldest_is_stopped(tmp_path):
    async def test() -> None:
        async with serving(tmp_path) as made, successors(made, 5):
            former = []
            for _ in range(5):
                former.append(running(made))
                await made.supervisor.replace_gateway(spec(made), LIMIT_S)
            await made.until(lambda: former[1].told)
            assert [each.told for each in former] == [True, True, False, False, False]

    run(test)


def test_a_former_gateway_that_does_not_answer_is_stopped(tmp_path):
    async def test() -> None:
        async with serving(tmp_path) as made, successors(made):
            former = running(made)
            await made.gateway.server.stop(0)
            await made.supervisor.replace_gateway(spec(made), LIMIT_S)
            await made.until(lambda: former.told)

    run(test)


def test_former_gateways_are_stopped_with_the_fleet(tmp_path):
    async def test() -> None:
        async with serving(tmp_path) as made, successors(made):
            former = running(made)
            former.obeys = False
            await made.supervisor.replace_gateway(spec(made), LIMIT_S)
            made.supervisor.stop()
            await made.until(lambda: former.told)
            assert made.running is not None
            for _ in range(20):
                await asyncio.sleep(0)
            assert not made.running.done(), "it has not ended yet"
            former.end(0)
            await made.running
            with pytest.raises(FleetError, match="being stopped"):
                await made.supervisor.replace_gateway(spec(made), LIMIT_S)

    run(test)


def test_a_gateway_that_does_not_answer_can_be_replaced(tmp_path):
    async def test() -> None:
        async with serving(tmp_path) as made, successors(made) as (second,):
            await made.gateway.server.stop(0)  # it does not answer
            await made.supervisor.replace_gateway(spec(made), LIMIT_S)
            assert second.orders == ["/listen"]

    run(test)


def test_permission_for_a_new_model_passes_to_the_successor(tmp_path):
    async def test() -> None:
        async with serving(tmp_path) as made, successors(made, 2) as (second, third):
            await made.supervisor.replace_gateway(spec(made), LIMIT_S)
            assert second.new_models == 0
            await made.supervisor.allow_new_model()
            await made.supervisor.replace_gateway(spec(made), LIMIT_S)
            assert third.new_models == 1

    run(test)


def test_a_successor_that_refuses_to_listen_changes_nothing(tmp_path):
    async def test() -> None:
        async with serving(tmp_path) as made, successors(made) as (second,):
            former = running(made)
            second.refuses = {"/listen"}
            with pytest.raises(FleetError, match="/listen was answered 503"):
                await made.supervisor.replace_gateway(spec(made), LIMIT_S)
            assert running(made) is former
            assert made.gateway.orders == []
            assert made.driver.running["s-gateway"].ended.done()

    run(test)


def test_a_refusal_by_a_gateway_is_an_error(tmp_path):
    async def test() -> None:
        async with serving(tmp_path) as made:
            made.gateway.refuses = {"/replicas", "/new-model", "/retire"}
            balancer = GatewayBalancer(str(made.sockets / "s.sock"))
            assert await balancer.reports() == []
            for call in (balancer.publish([], frozenset()), balancer.allow_new_model(), balancer.retire()):
                with pytest.raises(UpstreamError, match="was answered 503"):
                    await call
            made.gateway.refuses = set()

    run(test)


def test_a_retired_gateway_is_watched_as_ready_until_it_is_stopped(tmp_path):
    async def test() -> None:
        async with serving(tmp_path) as made, successors(made):
            former, child = running(made), made.service.gateway
            former.obeys = False
            await made.supervisor.replace_gateway(spec(made), LIMIT_S)
            assert child.phase_of(former) is Phase.READY
            made.supervisor.stop()
            await made.until(lambda: former.told)
            await made.until(lambda: child.observed.phase is Phase.STOPPED)
            assert child.phase_of(former) is Phase.STOPPING
            former.end(0)

    run(test)
