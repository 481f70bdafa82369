"""A gateway over fake replicas in one event loop, and a client for it."""

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace

import orjson

from embedfleet.gateway.app import App
from embedfleet.gateway.dispatch.limits import DispatchLimits
from embedfleet.gateway.settings import GatewaySettings
from embedfleet.http.client import Reply, fetch
from embedfleet.http.message import JSON
from embedfleet.types import Endpoint
from tests.services.replica import FakeReplica

LIMIT_S = 30
DISPATCH = DispatchLimits(probe_retry_s=(0.02, 0.1), probe_interval_s=60, no_replica_s=10)
SETTINGS = GatewaySettings(
    host="127.0.0.1", dispatch=DISPATCH, response_timeout_s=60, probe_timeout_s=5, calibrate=False
)


@dataclass
class Gateway:
    app: App
    replicas: list[FakeReplica]

    @property
    def port(self) -> int:
        return self.app.server.port

    @property
    def states(self) -> dict[str, str]:
        return {row["id"]: row["state"] for row in self.app.status()}

    async def request(self, method: str, path: str, body: bytes = b"", headers=()) -> Reply:
        url = f"http://127.0.0.1:{self.port}{path}"
        return await fetch(url, method=method, body=body, headers=headers, timeout_s=LIMIT_S)

    async def embed(self, inputs="text", headers=()) -> Reply:
        return await self.request("POST", "/embed", orjson.dumps({"inputs": inputs}), [JSON, *headers])

    async def until(self, reached: Callable[[], bool]) -> None:
        async with asyncio.timeout(LIMIT_S):
            while not reached():
                await asyncio.sleep(0)

    async def until_active(self, count: int) -> None:
        await self.until(lambda: list(self.states.values()).count("active") == count)


async def malformed(g: Gateway) -> bool:
    """Whether the gateway has retried because of a malformed reply."""
    text = (await g.request("GET", "/metrics")).body.decode()
    return 'embedfleet_retries_total{reason="malformed"}' in text


@asynccontextmanager
async def gateway(count: int = 2, **changes) -> AsyncIterator[Gateway]:
    """Run healthy replicas r0, r1, … that answer 0.0, 1.0, … and a gateway for which each of them has inferred."""
    replicas = [await FakeReplica(float(number)).start() for number in range(count)]
    endpoints = tuple(replica.endpoint(f"r{number}") for number, replica in enumerate(replicas))
    app = App(replace(SETTINGS, replicas=endpoints, **changes))
    await app.server.start()
    app.proxy.start()
    running = Gateway(app, replicas)
    try:
        await running.until_active(count)
        yield running
    finally:
        await app.server.stop(0)
        app.proxy.stop()
        for replica in replicas:
            await replica.kill()


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(60):
            await test()

    asyncio.run(bounded())


@contextmanager
def in_a_thread(*endpoints: Endpoint, **changes) -> Iterator[int]:
    """Run a gateway in a thread, for clients that block, and yield its port once every replica has inferred."""
    loop = asyncio.new_event_loop()

    async def start() -> App:
        app = App(replace(SETTINGS, replicas=endpoints, **changes))
        await app.server.start()
        app.proxy.start()
        await Gateway(app, []).until_active(len(endpoints))
        return app

    async def stop(app: App) -> None:
        await app.server.stop(0)
        app.proxy.stop()

    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        app = asyncio.run_coroutine_threadsafe(start(), loop).result(LIMIT_S)
        yield app.server.port
        asyncio.run_coroutine_threadsafe(stop(app), loop).result(LIMIT_S)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
