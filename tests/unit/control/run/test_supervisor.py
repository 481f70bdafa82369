"""The supervisor's promises, with children that are no processes and a gateway that is only its admin socket."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from embedfleet.control.balancers.gateway import GatewayBalancer
from embedfleet.control.drivers.base import Found
from embedfleet.control.drivers.listeners import Listeners
from embedfleet.control.host.log_files import LogFiles
from embedfleet.control.lifecycle.reconcile import Backoff
from embedfleet.control.plan.specs import ChildSpec, ProcessSpec
from embedfleet.control.run.api import fleet_status
from embedfleet.control.run.readiness import until_serving
from embedfleet.control.run.supervisor import Supervisor
from embedfleet.errors import FleetError, UsageError
from tests.services.driver import FakeDriver, FakeGateway

LIMIT_S = 30
AT_ONCE = Backoff(first_s=0, longest_s=0)


@dataclass
class World:
    driver: FakeDriver
    gateway: FakeGateway
    supervisor: Supervisor
    log_files: LogFiles
    sockets: Path
    running: asyncio.Task[None] | None = None

    def run(self) -> None:
        self.running = asyncio.create_task(self.supervisor.run())

    async def listen(self) -> None:
        await self.gateway.server.start(path=str(self.sockets / "s.sock"))

    async def until(self, reached: Callable[[], bool]) -> None:
        while not reached():
            assert self.running is None or not self.running.done(), "the supervisor has ended"
            await asyncio.sleep(0)

    async def until_published(self, *ports: int) -> None:
        await self.until(lambda: [m["url"] for m in self.gateway.members] == [f"http://127.0.0.1:{p}" for p in ports])

    @property
    def ports(self) -> list[int]:
        return [child.port for child in self.supervisor.replicas("s")]


@asynccontextmanager
async def world(
    logs: Path, backoff: Backoff = AT_ONCE, replicas: int = 2, *, listens: bool = False
) -> AsyncIterator[World]:
    """A service of a gateway and its replicas, not started yet."""
    sockets = logs / "sockets"
    sockets.mkdir()
    where = ("127.0.0.1", 0) if listens else None
    plan: list[ChildSpec] = [ProcessSpec("s-gateway", "s", "balancer", (), str(sockets / "s.sock"), where)]
    plan += [ProcessSpec(f"s-{number}", "s", "replica", ()) for number in range(replicas)]
    driver, gateway, log_files = FakeDriver(), FakeGateway(), LogFiles(logs)
    supervisor = Supervisor(
        [(spec, driver) for spec in plan],
        {"s": GatewayBalancer(str(sockets / "s.sock"))},
        log_files,
        backoff=backoff,
        listeners=Listeners(()),
        stop_grace_s=1,
        hung_after_s={},
    )
    made = World(driver, gateway, supervisor, log_files, sockets)
    try:
        yield made
    finally:
        await gateway.server.stop(0)
        if made.running is not None and not made.running.done():
            supervisor.kill()
            await made.running


@asynccontextmanager
async def serving(logs: Path, *, listens: bool = False) -> AsyncIterator[World]:
    async with world(logs, listens=listens) as made:
        await made.listen()
        made.run()
        await made.until(lambda: len(made.gateway.members) == 2)
        yield made


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(LIMIT_S):
            await test()

    asyncio.run(bounded())


def test_the_gateway_is_told_where_the_replicas_are(tmp_path):
    async def test() -> None:
        async with serving(tmp_path) as made:
            assert [member["id"] for member in made.gateway.members] == ["s-0", "s-1"]
            await made.until_published(*made.ports)

    run(test)


def test_a_gateway_that_does_not_answer_yet_is_told_later(tmp_path):
    async def test() -> None:
        async with world(tmp_path) as made:
            made.run()
            await made.until(lambda: all(made.ports))
            await made.listen()
            await made.until_published(*made.ports)

    run(test)


def test_a_replica_that_turns_ready_while_the_gateway_is_being_told_is_told_too(tmp_path):
    async def test() -> None:
        async with world(tmp_path) as made:
            made.driver.loading = {"s-1"}
            made.gateway.told = lambda: made.driver.running["s-1"].listen(9)
            await made.listen()
            made.run()
            await made.until(lambda: made.ports[1] == 9)
            await made.until_published(*made.ports)

    run(test)


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


def test_a_gateway_that_died_is_started_and_told_again(tmp_path):
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
            assert made.supervisor.children["s-0"].observed.restarts == 2

    run(test)


def test_replicas_are_told_to_end_only_after_the_gateways_have(tmp_path):
    async def test() -> None:
        async with serving(tmp_path) as made:
            gateway, *replicas = (made.driver.running[name] for name in ("s-gateway", "s-0", "s-1"))
            gateway.obeys = False
            made.supervisor.stop()
            await made.until(lambda: gateway.told)
            replicas[0].end(-9)  # a death while stopping is no reason to start it again
            await made.until(lambda: made.supervisor.children["s-0"].running is None)
            assert not replicas[1].told
            gateway.end(0)
            await made.running
            assert replicas[1].told
            assert made.driver.count("s-0") == 1

    run(test)


def test_kill_ends_children_that_do_not_obey(tmp_path):
    async def test() -> None:
        async with serving(tmp_path) as made:
            for child in made.driver.running.values():
                child.obeys = False
            made.supervisor.stop()
            await made.until(lambda: made.driver.running["s-gateway"].told)
            made.supervisor.kill()
            await made.running
            assert all(child.ended.result() == -9 for child in made.driver.running.values())

    run(test)


def test_a_child_that_cannot_work_as_told_stops_all_and_its_words_are_the_error(tmp_path):
    tmp_path.joinpath("s-1.log").write_text(
        "error: an old one\n\nhint: old\nerror: no tokenizer.json\n\nhint: copy it\n"
    )

    async def test() -> None:
        async with world(tmp_path) as made:
            made.driver.ends["s-1"].append(2)
            made.run()
            with pytest.raises(UsageError, match=r"^s-1: no tokenizer.json$") as caught:
                await made.running
            assert caught.value.hint == "copy it"
            assert all(child.ended.done() for child in made.driver.running.values())

    run(test)


def test_a_gateway_whose_port_is_taken_is_told_by_its_setting(tmp_path):
    tmp_path.joinpath("s-gateway.log").write_text("error: 0.0.0.0:8001: in use\n\nhint: choose another --port\n")

    async def test() -> None:
        async with world(tmp_path) as made:
            made.driver.ends["s-gateway"].append(2)
            made.run()
            with pytest.raises(UsageError, match=r"s-gateway: 0.0.0.0:8001: in use") as caught:
                await made.running
            assert "services.s.port" in caught.value.hint

    run(test)


def test_a_child_that_served_before_is_started_again_whatever_its_code(tmp_path):
    async def test() -> None:
        async with serving(tmp_path) as made:
            made.driver.ends["s-0"] += [2, 1]
            made.driver.running["s-0"].end(1)
            await made.until(lambda: made.driver.count("s-0") == 4)
            await made.until_published(*made.ports)

    run(test)


def test_all_serve_once_the_gateway_says_so(tmp_path):
    seen: list[dict[str, str]] = []

    async def test() -> None:
        async with serving(tmp_path) as made:
            made.gateway.state = "warming"
            waiting = asyncio.create_task(until_serving(made.supervisor, LIMIT_S, seen.append))
            await made.until(lambda: len(seen) > 1)
            assert not waiting.done()
            made.gateway.state = "active"
            await waiting
            assert (seen[0], seen[-1]) == ({"s-0": "warming", "s-1": "warming"}, {"s-0": "active", "s-1": "active"})

    run(test)


def test_who_is_late_is_named_with_the_gateways_reason(tmp_path):
    async def test() -> None:
        async with serving(tmp_path) as made:
            made.gateway.state, made.gateway.reason = "ejected", "answered 503"
            with pytest.raises(FleetError, match="not ready after 0 s: s-0 is ejected answered 503; s-1 is"):
                await until_serving(made.supervisor, 0, lambda _: None)

    run(test)


def test_a_child_that_keeps_dying_before_it_serves_is_given_up(tmp_path):
    async def test() -> None:
        async with world(tmp_path) as made:
            made.driver.ends["s-1"] += [-6] * 100
            made.run()
            with pytest.raises(
                FleetError, match=r"s-1 ended \d+ times in a row, the last time with signal 6"
            ) as caught:
                await until_serving(made.supervisor, LIMIT_S, lambda _: None)
            assert "embedfleet logs s-1" in caught.value.hint

    run(test)


def test_the_status_joins_what_the_driver_and_the_gateway_know(tmp_path):
    async def test() -> None:
        async with serving(tmp_path) as made:
            made.driver.running["s-1"].end(-9)
            await made.until(lambda: made.driver.count("s-1") == 2)
            await made.until(lambda: made.supervisor.children["s-1"].observed.phase == "ready")
            (service,) = (await fleet_status(made.supervisor))["services"]
            assert (service["name"], service["gateway"]["phase"]) == ("s", "ready")
            first, second = service["replicas"]
            assert (first["id"], first["state"], first["restarts"]) == ("s-0", "active", 0)
            assert (second["restarts"], second["url"]) == (1, f"http://127.0.0.1:{made.ports[1]}")
            await made.gateway.server.stop(0)
            (service,) = (await fleet_status(made.supervisor))["services"]
            assert [row["state"] for row in service["replicas"]] == ["ready", "ready"], "only the process is known"

    run(test)


def found(*names: str, is_stale: bool, has_other_model: bool = False) -> dict[str, Found]:
    return {name: Found(f"http://127.0.0.1:{7000 + int(name[-1])}", is_stale, has_other_model) for name in names}


def test_what_ran_before_goes_on_serving_and_is_replaced_one_at_a_time(tmp_path):
    async def test() -> None:
        async with world(tmp_path) as made:
            made.driver.found = found("s-0", "s-1", is_stale=True)
            made.driver.loading = {"s-0", "s-1"}
            await made.listen()
            made.run()
            await made.until(lambda: made.driver.count("s-0") == 1)
            await made.until(lambda: [member["id"] for member in made.gateway.members] == ["s-1"])
            assert made.driver.count("s-1") == 0, "its turn has not come"
            assert (await made.supervisor.states("s"))["s-1"]["state"] == "outdated"
            made.driver.running["s-0"].listen(8000)
            await made.until(lambda: made.driver.count("s-1") == 1)
            assert [member["id"] for member in made.gateway.members] == ["s-0"]
            made.driver.running["s-1"].listen(8001)
            await made.until_published(8000, 8001)

    run(test)


def test_a_replica_that_does_not_serve_keeps_the_next_from_being_replaced(tmp_path):
    async def test() -> None:
        async with world(tmp_path) as made:
            made.driver.found = found("s-0", "s-1", is_stale=True)
            made.gateway.state = "ejected"
            await made.listen()
            made.run()
            await made.until(lambda: [member["id"] for member in made.gateway.members] == ["s-0", "s-1"])
            assert (made.driver.count("s-0"), made.driver.count("s-1")) == (1, 0)

    run(test)


def test_replicas_of_another_model_are_replaced_together(tmp_path):
    async def test() -> None:
        async with world(tmp_path) as made:
            made.driver.found = found("s-0", "s-1", is_stale=True, has_other_model=True)
            made.driver.loading = {"s-0", "s-1"}
            await made.listen()
            made.run()
            await made.until(lambda: made.driver.count("s-0") == made.driver.count("s-1") == 1)
            assert made.gateway.new_models == 1, "the gateway that runs knows the former model"

    run(test)


def test_a_gateway_is_not_told_of_a_new_model_that_nobody_wants(tmp_path):
    async def test() -> None:
        async with world(tmp_path) as made:
            made.driver.found = found("s-0", "s-1", is_stale=True)
            made.driver.loading = {"s-0", "s-1"}
            await made.listen()
            made.run()
            await made.until(lambda: made.driver.count("s-0") == 1)
            assert made.gateway.new_models == 0

    run(test)


def test_a_fleet_that_fails_leaves_what_served_before_it(tmp_path):
    async def test() -> None:
        async with world(tmp_path) as made:
            made.driver.found = found("s-0", is_stale=False)
            await made.listen()
            made.run()
            await made.until(lambda: all(made.ports))
            made.supervisor.fail()
            assert made.running is not None
            await made.running
            assert made.driver.running["s-0"].abandoned
            assert not made.driver.running["s-1"].abandoned
            assert made.driver.running["s-1"].told

    run(test)


def test_what_serves_another_model_gets_nothing_more_and_has_ended_before_the_first_of_the_new_one_starts(tmp_path):
    async def test() -> None:
        async with world(tmp_path, replicas=3) as made:
            made.driver.found = found("s-0", "s-1", "s-2", is_stale=True, has_other_model=True)
            hanging = asyncio.Event()
            made.driver.clears = lambda name: hanging.wait() if name == "s-1" else asyncio.sleep(0)
            await made.listen()
            made.gateway.members = [{"id": "s-0", "url": "http://127.0.0.1:7000"}]
            made.run()
            await made.until(lambda: made.gateway.members == [])
            await made.until(lambda: sorted(made.driver.cleared) == ["s-0", "s-1", "s-2"])
            await made.until(lambda: made.driver.count("s-gateway") == 1)
            assert not any(made.driver.count(f"s-{number}") for number in range(3)), "one of the former hangs"
            hanging.set()
            await made.until(lambda: len(made.gateway.members) == 3)

    run(test)


def test_a_replica_that_cannot_be_ended_now_is_tried_again(tmp_path):
    async def test() -> None:
        async with world(tmp_path) as made:
            made.driver.found = found("s-0", is_stale=True, has_other_model=True)
            faults = [OSError("the daemon is busy")]

            async def clear(_: str) -> None:
                if faults:
                    raise faults.pop()

            made.driver.clears = clear
            await made.listen()
            made.run()
            await made.until(lambda: made.driver.cleared == ["s-0", "s-0"])
            await made.until(lambda: len(made.gateway.members) == 2)

    run(test)


@pytest.mark.parametrize("fault", [UsageError("it is somebody else's", "rename that"), KeyError("State"), OSError("x")])
def test_a_replica_that_cannot_be_started_while_the_fleet_serves_costs_no_other(tmp_path, fault):
    async def test() -> None:
        async with serving(tmp_path) as made:
            made.supervisor.serves = True
            made.driver.faults["s-0"] = [fault, fault]
            made.driver.running["s-0"].end(1)
            await made.until(lambda: made.driver.count("s-0") == 2)
            await made.until_published(*made.ports)
            assert made.supervisor.children["s-0"].observed.restarts == 3
            assert not made.driver.running["s-1"].told
            assert made.driver.count("s-gateway") == 1

    run(test)


def test_why_a_replica_cannot_be_started_is_its_reason_until_it_is(tmp_path):
    async def test() -> None:
        async with world(tmp_path, backoff=Backoff(first_s=0.01, longest_s=0.01)) as made:
            await made.listen()
            made.run()
            await made.until(lambda: len(made.gateway.members) == 2)
            made.supervisor.serves = True
            made.driver.faults["s-0"] = [UsageError("it is somebody else's", "rename that")] * 10_000
            made.driver.running["s-0"].end(1)
            child = made.supervisor.children["s-0"]
            await made.until(lambda: bool(child.cannot_start))
            assert (await made.supervisor.states("s"))["s-0"]["reason"] == "it is somebody else's (rename that)"
            made.driver.faults["s-0"].clear()
            await made.until(lambda: made.driver.count("s-0") == 2)
            assert child.cannot_start == ""
            assert (await made.supervisor.states("s"))["s-0"]["reason"] == ""

    run(test)


def test_of_a_failed_update_only_what_serves_the_same_model_stays(tmp_path):
    """What the gateway said of the one that was replaced is not said of the one in its place."""

    async def test() -> None:
        async with world(tmp_path, replicas=3) as made:
            made.driver.found = found("s-0", is_stale=True) | found("s-1", is_stale=True, has_other_model=True)
            made.driver.found |= found("s-2", is_stale=False)
            await made.listen()
            made.run()
            await until_serving(made.supervisor, LIMIT_S, lambda _: None)
            kept = {name: child.is_kept for name, child in made.supervisor.children.items()}
            assert kept == {"s-gateway": False, "s-0": True, "s-1": False, "s-2": True}
            made.supervisor.children["s-0"].served = False
            assert not made.supervisor.children["s-0"].is_kept

    run(test)


def test_a_successor_that_never_served_is_not_kept_for_what_it_replaced(tmp_path):
    async def test() -> None:
        async with world(tmp_path, replicas=1) as made:
            made.driver.found = found("s-0", is_stale=True)
            made.driver.loading = {"s-0"}
            child = made.supervisor.children["s-0"]
            child.served = True  # as the former did, while it was still there
            await made.listen()
            made.run()
            await made.until(lambda: made.driver.count("s-0") == 1)
            assert not child.is_kept

    run(test)


def test_an_operators_word_reaches_what_starts_replicas_too(tmp_path):
    async def test() -> None:
        async with serving(tmp_path) as made:
            assert made.driver.new_models == []
            await made.supervisor.allow_new_model(["s"])
            assert set(made.driver.new_models) == {"s"}, "one that comes back may have another folder"
            assert made.gateway.new_models == 1

    run(test)
