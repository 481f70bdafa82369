"""A supervised service whose children are not processes, and whose gateway is only its admin socket."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from embedfleet.control.balancers.gateway import GatewayBalancer
from embedfleet.control.drivers.base import Found
from embedfleet.control.drivers.listeners import Listeners
from embedfleet.control.host.log_files import LogFiles
from embedfleet.control.lifecycle.reconcile import Backoff
from embedfleet.control.plan.specs import ChildSpec, ProcessSpec
from embedfleet.control.run.child import Child
from embedfleet.control.run.child_runner import ChildLimits
from embedfleet.control.run.readiness import States, until_serving
from embedfleet.control.run.running_service import RunningService
from embedfleet.control.run.supervisor import Supervisor
from embedfleet.types import ReplicaState
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
    def service(self) -> RunningService:
        return self.supervisor.services["s"]

    async def until_drained(self, **drained: bool | None) -> None:
        """Wait until the gateway has these drained flags, by replica as in `s0`; None stands for no flag."""
        await self.until(
            lambda: {row["id"].replace("-", ""): row.get("drained") for row in self.gateway.members} == drained
        )

    def child(self, name: str) -> Child:
        return self.supervisor.children[name]

    async def states(self) -> dict[str, ReplicaState]:
        """State of every replica, by name."""
        return {name: report.state for name, report in (await self.service.reports()).items()}

    async def until_all_serve(self, timeout_s: float = LIMIT_S) -> None:
        """Wait until all replicas serve, and record which have served, as `up` does."""

        def note(states: States) -> None:
            self.supervisor.note_served(name for name, state in states.items() if state is ReplicaState.ACTIVE)

        await until_serving(self.supervisor, timeout_s, note)

    @property
    def ports(self) -> list[int]:
        return [child.port for child in self.service.replicas]


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
        limits=ChildLimits(backoff, stop_grace_s=1, hung_after_s={}),
        listeners=Listeners({}),
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


def found(*names: str, is_stale: bool, has_other_model: bool = False) -> dict[str, Found]:
    return {name: Found(f"http://127.0.0.1:{7000 + int(name[-1])}", is_stale, has_other_model) for name in names}
