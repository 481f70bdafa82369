"""A drained replica stays drained whatever happens around it, and nobody takes it for broken."""

import asyncio

import orjson
import pytest

from embedfleet.control.run.api import FleetApi, fleet_status
from embedfleet.control.run.drain import drain, serving_without, undrain
from embedfleet.control.run.readiness import until_serving
from embedfleet.control.run.reload import Replaced
from embedfleet.errors import UsageError
from embedfleet.http.client import fetch
from tests.unit.control.run.test_supervisor import LIMIT_S, World, found, run, serving, world


async def until_told(made: World, **drained: bool | None) -> None:
    """What the gateway was told last of each replica; None for nothing."""
    wanted = {f"s-{name[1:]}": value for name, value in drained.items()}
    await made.until(lambda: {row["id"]: row.get("drained") for row in made.gateway.members} == wanted)


async def states(made: World) -> dict[str, str]:
    return {name: row["state"] for name, row in (await made.supervisor.states("s")).items()}


def test_the_balancer_is_told_and_told_again_when_it_was_started_anew(tmp_path):
    async def test() -> None:
        async with serving(tmp_path) as made:
            await until_told(made, s0=None, s1=None)
            await drain(made.supervisor, "s-0", force=False)
            await until_told(made, s0=True, s1=None)
            made.gateway.members = []
            made.driver.running["s-gateway"].end(-11)
            await until_told(made, s0=True, s1=None)
            made.driver.running["s-0"].end(-9)
            await made.until(lambda: made.driver.count("s-0") == 2)
            await until_told(made, s0=True, s1=None)
            undrain(made.supervisor, "s-0")
            await until_told(made, s0=False, s1=None)
            made.driver.running["s-1"].end(-9)
            await until_told(made, s0=None, s1=None)

    run(test)


def test_until_the_balancer_has_obeyed_it_is_draining(tmp_path):
    async def test() -> None:
        async with serving(tmp_path) as made:
            made.supervisor.children["s-0"].drained = True
            assert await states(made) == {"s-0": "draining", "s-1": "active"}
            made.supervisor.set_drained(made.supervisor.children["s-0"], drained=True)
            await until_told(made, s0=True, s1=None)
            assert await states(made) == {"s-0": "drained", "s-1": "active"}

    run(test)


def test_the_last_one_that_serves_is_kept_but_by_force(tmp_path):
    async def test() -> None:
        async with serving(tmp_path) as made:
            await drain(made.supervisor, "s-0", force=False)
            with pytest.raises(UsageError, match="no other replica of s serves") as caught:
                await drain(made.supervisor, "s-1", force=False)
            assert "--force" in caught.value.hint
            assert not made.supervisor.children["s-1"].drained
            await drain(made.supervisor, "s-0", force=False)  # it is drained already, and s-1 serves
            await drain(made.supervisor, "s-1", force=True)
            await until_told(made, s0=True, s1=True)

    run(test)


def test_one_whose_neighbour_has_failed_is_kept(tmp_path):
    async def test() -> None:
        async with serving(tmp_path) as made:
            made.gateway.state = "ejected"
            with pytest.raises(UsageError, match="no other replica of s serves"):
                await drain(made.supervisor, "s-0", force=False)

    run(test)


def test_who_is_left():
    rows = {"a": {"state": "active"}, "b": {"state": "outdated"}, "c": {"state": "ejected"}, "d": {"state": "active"}}
    assert serving_without("a", rows, set()) == {"b", "d"}
    assert serving_without("a", rows, {"d"}) == {"b"}
    assert serving_without("d", {"c": rows["c"], "d": rows["d"]}, set()) == set()


@pytest.mark.parametrize("name", ["s-7", "s-gateway", "", "s-0/x", "s 0%"])
def test_a_name_that_no_replica_has_is_answered_with_those_that_there_are(tmp_path, name):
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


async def no_gateways() -> list[Replaced]:
    raise UsageError("no gateway", "none")


def test_the_api_obeys_and_refuses_in_words(tmp_path):
    async def test() -> None:
        async with serving(tmp_path) as made:
            api = FleetApi(made.supervisor, no_gateways)
            await api.server.start()

            async def post(path: str) -> tuple[int, bytes]:
                reply = await fetch(f"http://127.0.0.1:{api.server.port}{path}", method="POST", timeout_s=LIMIT_S)
                return reply.status, reply.body

            assert await post("/replicas/s-0/drain") == (200, b"{}")
            status, body = await post("/replicas/s-1/drain")
            assert (status, set(orjson.loads(body))) == (409, {"error", "hint"})
            assert (await post("/replicas/s-9/drain?force"))[0] == 409
            assert await post("/replicas/s-1/drain?force") == (200, b"{}")
            assert await post("/replicas/s-0/undrain") == (200, b"{}")
            assert await post("/reload") == (409, b'{"error":"no gateway","hint":"none"}')
            await until_told(made, s0=False, s1=True)
            for path in ("/replicas/s-0/stop", "/drain", "/x/stop", "/replicas"):
                assert (await post(path))[0] == 404
            await api.server.stop(0)

    run(test)


def test_a_fleet_serves_though_a_replica_is_drained(tmp_path):
    async def test() -> None:
        async with serving(tmp_path) as made:
            await drain(made.supervisor, "s-0", force=False)
            await until_serving(made.supervisor, LIMIT_S, lambda _: None)
            (service,) = (await fleet_status(made.supervisor))["services"]
            assert [row["phase"] for row in service["replicas"]] == ["ready", "ready"]
            assert made.driver.count("s-0") == 1, "it was not started again"

    run(test)


def test_a_drained_neighbour_does_not_hold_up_what_is_to_be_replaced(tmp_path):
    async def test() -> None:
        async with world(tmp_path, replicas=3) as made:
            made.driver.found = found("s-2", is_stale=True)
            made.supervisor.children["s-0"].drained = True
            await made.listen()
            made.run()
            await made.until(lambda: made.driver.count("s-2") == 1)
            await until_told(made, s0=True, s1=None, s2=None)

    run(test)


def test_but_if_all_neighbours_are_drained_it_waits(tmp_path):
    async def test() -> None:
        async with world(tmp_path) as made:
            made.driver.found = found("s-1", is_stale=True)
            made.supervisor.children["s-0"].drained = True
            await made.listen()
            made.run()
            await until_told(made, s0=True, s1=None)
            assert (await states(made))["s-1"] == "outdated"
            assert made.driver.count("s-1") == 0, "it is the only one that serves"
            undrain(made.supervisor, "s-0")
            await made.until(lambda: made.driver.count("s-1") == 1)

    run(test)
