"""The two sides of a supervisor without processes: a fake driver and a fake gateway's admin socket."""

import asyncio
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable
from typing import Any

import orjson

from embedfleet.control.drivers.base import Found
from embedfleet.control.lifecycle.liveness import Activity
from embedfleet.control.plan.specs import ChildSpec
from embedfleet.http.exchange import Exchange
from embedfleet.http.message import JSON
from embedfleet.http.server import Server


class FakeRunning:
    """A child that the test controls."""

    pause_reason = ""

    def __init__(self, pid: int) -> None:
        loop = asyncio.get_running_loop()
        self.pid = pid
        self.ready: asyncio.Future[str] = loop.create_future()
        self.ended: asyncio.Future[int] = loop.create_future()
        self.told = False
        self.abandoned = False
        self.obeys = True

    def listen(self, port: int) -> None:
        if not self.ready.done():
            self.ready.set_result(f"http://127.0.0.1:{port}")

    def end(self, code: int) -> None:
        if not self.ended.done():
            self.ended.set_result(code)

    async def stop(self, grace_s: float) -> None:
        self.told = True
        if self.obeys:
            self.end(0)
        await asyncio.shield(self.ended)

    def kill(self) -> None:
        self.end(-9)

    def activity(self) -> Activity | None:
        return None

    def kill_hung(self) -> None:
        self.kill()

    def abandon(self) -> None:
        self.abandoned = True
        self.end(0)


class FakeDriver:
    """A driver whose children listen at once, except those in ``loading`` and ``ends``; the latter end."""

    can_restart = True

    def __init__(self) -> None:
        self.running: dict[str, FakeRunning] = {}
        self.starts: list[tuple[str, int]] = []
        self.specs: list[ChildSpec] = []
        self.ends: dict[str, deque[int]] = defaultdict(deque)
        self.loading: set[str] = set()
        self.found: dict[str, Found] = {}
        self.faults: dict[str, list[Exception]] = defaultdict(list)
        self.cleared: list[str] = []
        self.clears: Callable[[str], Awaitable[object]] = lambda _: asyncio.sleep(0)
        self.new_models: list[str] = []
        self.unstartable: dict[str, int] = defaultdict(int)

    async def start(self, spec: ChildSpec, *, preferred_port: int) -> FakeRunning:
        if self.faults[spec.name]:
            raise self.faults[spec.name].pop()
        if self.unstartable[spec.name]:
            self.unstartable[spec.name] -= 1
            raise OSError(11, "Resource temporarily unavailable")
        self.starts.append((spec.name, preferred_port))
        self.specs.append(spec)
        running = self.running[spec.name] = FakeRunning(pid=1000 + len(self.starts))
        if self.ends[spec.name]:
            running.end(self.ends[spec.name].popleft())
        elif spec.name not in self.loading:
            running.listen(preferred_port or 10_000 + len(self.starts))
        return running

    async def find(self, spec: ChildSpec) -> Found | None:
        return self.found.get(spec.name)

    async def clear(self, spec: ChildSpec) -> None:
        self.cleared.append(spec.name)
        await self.clears(spec.name)

    def allow_new_model(self, service: str) -> None:
        self.new_models.append(service)

    def count(self, name: str) -> int:
        return sum(started == name for started, _ in self.starts)


class FakeGateway:
    """An admin socket that accepts members and reports them in ``state``, or drained."""

    def __init__(self) -> None:
        self.state = "active"
        self.reason = ""
        self.members: list[dict[str, Any]] = []
        self.told: Callable[[], None] = lambda: None  # called with each new list of replicas, before the answer
        self.new_models = 0  # number of calls that allow a new model
        self.orders: list[str] = []  # paths of the orders to listen and to retire
        self.refuses: set[str] = set()  # paths of requests that fail
        self.asked = 0  # number of requests for its replicas
        self.server = Server(self.handle)

    def handle(self, exchange: Exchange) -> None:
        if exchange.path in self.refuses:
            exchange.respond(503, [JSON], b"")
            return
        self.asked += exchange.method == b"GET"
        if exchange.path == "/new-model":
            self.new_models += 1
        if exchange.path in {"/listen", "/retire"}:
            self.orders.append(exchange.path)
        if exchange.method == b"PUT":
            self.members = orjson.loads(exchange.body)
            self.told()
        rows = [
            member | {"state": "drained" if member.get("drained") else self.state, "reason": self.reason}
            for member in self.members
        ]
        exchange.respond(200, [JSON], orjson.dumps(rows))
