"""A supervisor replaces real processes that hang in different ways."""

import asyncio
import os
import re
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from embedfleet.control.balancers.gateway import GatewayBalancer
from embedfleet.control.drivers.code_path import CodePath
from embedfleet.control.drivers.listeners import Listeners
from embedfleet.control.drivers.process import ProcessDriver
from embedfleet.control.host.log_files import LogFiles
from embedfleet.control.lifecycle.phase import Phase
from embedfleet.control.lifecycle.reconcile import Backoff
from embedfleet.control.plan.specs import ProcessSpec
from embedfleet.control.run.api import fleet_status
from embedfleet.control.run.child import Child
from embedfleet.control.run.child_runner import ChildLimits
from embedfleet.control.run.supervisor import Supervisor
from embedfleet.types import ReplicaState
from tests.services.driver import FakeGateway
from tests.services.parent import COMMAND, ROOT

LIMIT_S = 60
AFTER_S = 1.0


class Noted(Supervisor):
    """A supervisor that lets a test wait for the next event in a child's life."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        self._event = asyncio.Event()
        super().__init__(*arguments, **named)

    def wake(self) -> None:
        super().wake()
        self._event.set()

    async def until(self, reached: Callable[[], bool]) -> None:
        while not reached():
            self._event.clear()
            await self._event.wait()

    async def until_ready(self, child: Child, restarts: int = 0) -> int:
        """The pid of a child once it listens."""
        await self.until(lambda: child.observed.phase is Phase.READY and child.observed.restarts == restarts)
        assert child.running is not None
        return child.running.pid


@asynccontextmanager
async def serving(
    logs: Path, mode: str = "answers", *, after_s: float = AFTER_S, **environment: str
) -> AsyncIterator[tuple[Noted, Child]]:
    """One replica that is a process, and a gateway that is only its admin socket and a process that waits."""
    folder, log_files, gateway = logs / "run", LogFiles(logs), FakeGateway()
    folder.mkdir()
    driver = ProcessDriver(log_files, ROOT, CodePath(os.environ | environment, None), Listeners({}), COMMAND)
    plan = [
        ProcessSpec("s-gateway", "s", "balancer", ("answers",), str(folder / "s.sock")),
        ProcessSpec("s-0", "s", "replica", (mode,)),
    ]
    await gateway.server.start(path=str(folder / "s.sock"))
    hung_after_s = {"replica": after_s, "balancer": after_s}
    supervisor = Noted(
        [(spec, driver) for spec in plan],
        {"s": GatewayBalancer(str(folder / "s.sock"))},
        log_files,
        limits=ChildLimits(Backoff(0, 0), stop_grace_s=10 * LIMIT_S, hung_after_s=hung_after_s),
        listeners=Listeners({}),
    )
    running = asyncio.create_task(supervisor.run())
    try:
        yield supervisor, supervisor.children["s-0"]
    finally:
        supervisor.stop()
        await running
        await gateway.server.stop(0)


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(LIMIT_S):
            await test()

    asyncio.run(bounded())


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        (signal.SIGSTOP, r"hung: one of its processes has been stopped for \d s, as by SIGSTOP"),
        (signal.SIGUSR1, r"hung: no answer for \d s, while it does nothing"),
        (signal.SIGUSR2, r"hung: no answer for \d s, while it works"),
    ],
)
def test_a_replica_that_hangs_is_replaced_on_its_port_and_the_reason_is_reported(tmp_path, how, reason):
    async def test() -> None:
        async with serving(tmp_path) as (supervisor, child):
            pid = await supervisor.until_ready(child)
            port = child.port
            os.kill(pid, how)
            assert await supervisor.until_ready(child, restarts=1) != pid
            assert child.port == port
            assert re.fullmatch(reason, child.last_end)
            (service,) = (await fleet_status(supervisor)).services
            assert service.replicas[0].process.last_end == child.last_end
            assert service.gateway.process.restarts == 0

    run(test)


def test_a_gateway_that_hangs_is_replaced(tmp_path):
    """Its process is stopped, though the admin socket of the fake gateway answers."""

    async def test() -> None:
        async with serving(tmp_path) as (supervisor, child):
            gateway = supervisor.services["s"].gateway
            await supervisor.until_ready(child)
            os.kill(await supervisor.until_ready(gateway), signal.SIGSTOP)
            await supervisor.until_ready(gateway, restarts=1)
            assert gateway.last_end.startswith("hung: ")
            assert child.observed.restarts == 0

    run(test)


def test_a_silent_replica_does_not_count_as_serving_until_it_answers_again(tmp_path):
    async def test() -> None:
        async with serving(tmp_path, after_s=0) as (supervisor, child):
            pid = await supervisor.until_ready(child)

            async def state() -> ReplicaState:
                return (await fleet_status(supervisor)).services[0].replicas[0].state

            while await state() is not ReplicaState.ACTIVE:
                await asyncio.sleep(0)
            os.kill(pid, signal.SIGSTOP)
            while await state() is not ReplicaState.SILENT:
                await asyncio.sleep(0)
            assert (await fleet_status(supervisor)).is_ready is False
            os.kill(pid, signal.SIGCONT)
            while await state() is not ReplicaState.ACTIVE:
                await asyncio.sleep(0)
            assert child.observed.restarts == 0

    run(test)


@pytest.mark.parametrize("stopped", [False, True])
def test_a_load_that_reads_nothing_counts_as_hung(tmp_path, stopped):
    async def test() -> None:
        os.mkfifo(tmp_path / "weights")
        async with serving(tmp_path, "loads", LOADS=str(tmp_path / "weights")) as (supervisor, child):
            weights = await asyncio.to_thread((tmp_path / "weights").open, "wb")  # opens once the child reads it
            with weights:
                assert child.running is not None
                if stopped:
                    os.kill(child.running.pid, signal.SIGSTOP)
                await supervisor.until(lambda: child.observed.restarts == 1)
                assert child.last_end.startswith("hung: one of its processes" if stopped else "hung: no answer for ")

    run(test)


@pytest.mark.parametrize("how", [signal.SIGSTOP, signal.SIGUSR1])
def test_a_stop_does_not_wait_for_a_child_that_hangs(tmp_path, how):
    """The grace of a stop is ten times the time limit of the test."""

    async def test() -> None:
        async with serving(tmp_path) as (supervisor, child):
            os.kill(await supervisor.until_ready(child), how)
            supervisor.stop()

    run(test)
