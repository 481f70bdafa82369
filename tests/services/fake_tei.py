"""A fake replica in the test's own event loop, asked over real sockets."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import orjson

from bench.fake_tei.admin import Admin
from bench.fake_tei.faults import Fault
from bench.fake_tei.replica import Replica
from bench.fake_tei.settings import ReplicaSettings
from embedfleet.http.client import Reply, fetch
from embedfleet.http.message import JSON
from embedfleet.simulation.batch_cost import BatchCost

LIMIT_S = 30
QUICK = BatchCost(a_s=0.0005, b_s=1e-7, batch_tokens=100)


class FakeTei:
    def __init__(self, replica: Replica, admin: Admin) -> None:
        self.replica = replica
        self.admin = admin

    async def get(self, path: str) -> Reply:
        return await fetch(f"http://127.0.0.1:{self.replica.port}{path}", timeout_s=LIMIT_S)

    async def post(self, path: str, value: Any, headers=(JSON,)) -> Reply:
        body = value if isinstance(value, bytes) else orjson.dumps(value)
        url = f"http://127.0.0.1:{self.replica.port}{path}"
        return await fetch(url, method="POST", body=body, headers=headers, timeout_s=LIMIT_S)

    async def embed(self, inputs: Any, **options: Any) -> Any:
        reply = await self.post("/embed", {"inputs": inputs, **options})
        assert reply.status == 200, reply
        return orjson.loads(reply.body)

    def begin(self, inputs: Any) -> "asyncio.Task[Reply]":
        return asyncio.ensure_future(self.post("/embed", {"inputs": inputs}))

    async def order(self, **fault: Any) -> Reply:
        url = f"http://127.0.0.1:{self.admin.server.port}/fault"
        return await fetch(url, method="POST", body=orjson.dumps(fault), timeout_s=LIMIT_S)

    async def told(self, path: str) -> Any:
        reply = await fetch(f"http://127.0.0.1:{self.admin.server.port}{path}", timeout_s=LIMIT_S)
        return orjson.loads(reply.body)

    async def until(self, reached: Callable[[], bool]) -> None:
        async with asyncio.timeout(LIMIT_S):
            while not reached():
                await asyncio.sleep(0)

    async def until_taken(self, permits: int) -> None:
        await self.until(lambda: self.replica.permits.taken == permits)


@asynccontextmanager
async def fake_tei(**settings: Any) -> AsyncIterator[FakeTei]:
    replica = Replica("0", ReplicaSettings(**({"cost": QUICK} | settings)))
    await replica.listen()
    admin = Admin([replica])
    await admin.server.start()
    try:
        yield FakeTei(replica, admin)
    finally:
        replica.suffer(Fault("heal"))
        replica.close()
        await admin.server.stop(0)
