"""A driver without processes, and the admin socket of a gateway: a supervisor's two sides."""

import asyncio
from collections import defaultdict, deque
from typing import Any

import orjson

from embedfleet.control.plan import ChildSpec
from embedfleet.http.exchange import Exchange
from embedfleet.http.message import JSON
from embedfleet.http.server import Server


class FakeRunning:
    """A child that does what the test says."""

    def __init__(self, pid: int) -> None:
        loop = asyncio.get_running_loop()
        self.pid = pid
        self.ready: asyncio.Future[int] = loop.create_future()
        self.ended: asyncio.Future[int] = loop.create_future()
        self.told = False
        self.obeys = True

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


class FakeDriver:
    """Children listen at once, on the port they prefer; those in ``ends`` end instead, with the code that is next."""

    def __init__(self) -> None:
        self.running: dict[str, FakeRunning] = {}
        self.starts: list[tuple[str, int]] = []
        self.ends: dict[str, deque[int]] = defaultdict(deque)
        self.unstartable: dict[str, int] = defaultdict(int)

    async def start(self, spec: ChildSpec, *, preferred_port: int) -> FakeRunning:
        if self.unstartable[spec.name]:
            self.unstartable[spec.name] -= 1
            raise OSError(11, "Resource temporarily unavailable")
        self.starts.append((spec.name, preferred_port))
        running = self.running[spec.name] = FakeRunning(pid=1000 + len(self.starts))
        if self.ends[spec.name]:
            running.end(self.ends[spec.name].popleft())
        else:
            running.ready.set_result(preferred_port or 10_000 + len(self.starts))
        return running

    def count(self, name: str) -> int:
        return sum(started == name for started, _ in self.starts)


class FakeGateway:
    """Takes memberships, and says that all members are in ``state``."""

    def __init__(self) -> None:
        self.state = "active"
        self.reason = ""
        self.members: list[dict[str, Any]] = []
        self.server = Server(self.handle)

    def handle(self, exchange: Exchange) -> None:
        if exchange.method == b"PUT":
            self.members = orjson.loads(exchange.body)
        rows = [member | {"state": self.state, "reason": self.reason} for member in self.members]
        exchange.respond(200, [JSON], orjson.dumps(rows))
