"""A drain over the admin socket: the replica gets no more requests, loses none, and can come back."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import orjson

from embedfleet.gateway.admin import Admin, restore_replicas
from embedfleet.http.client import Reply, fetch
from tests.services.gateway import DISPATCH, LIMIT_S, Gateway, gateway, run


class Order:
    """A client of the admin socket, in the role of control."""

    def __init__(self, admin: Admin) -> None:
        self._url = f"http://127.0.0.1:{admin.server.port}"

    async def ask(self, method: str, path: str, value: object = None) -> Reply:
        body = orjson.dumps(value) if value is not None else b""
        return await fetch(self._url + path, method=method, body=body, timeout_s=LIMIT_S)

    async def post(self, path: str) -> int:
        return (await self.ask("POST", path)).status


@asynccontextmanager
async def admin(g: Gateway) -> AsyncIterator[Order]:
    made = Admin(g.app.proxy, g.app.status, {"/new-model": g.app.allow_new_model})
    await made.server.start()
    try:
        yield Order(made)
    finally:
        await made.server.stop(0)


def test_a_drained_replica_finishes_its_work_and_gets_nothing_more():
    async def go():
        async with gateway(2, coalesce=False, dispatch=replace(DISPATCH, hedge=False)) as g, admin(g) as order:
            first, second = g.replicas
            first.mode = second.mode = "hold"
            held = [asyncio.create_task(g.embed("held")) for _ in range(2)]
            await g.until(lambda: bool(first.held) and bool(second.held))
            second.mode = 200
            second.answer(second.held.popleft())
            assert await order.post("/replicas/r0/drain") == 200
            assert g.states == {"r0": "draining", "r1": "active"}
            assert {reply.body for reply in await asyncio.gather(*(g.embed() for _ in range(20)))} == {b"[[1.0]]"}
            assert len(first.seen) == 1
            first.answer(first.held.popleft())
            assert {(await task).body for task in held} == {b"[[0.0]]", b"[[1.0]]"}
            assert g.states["r0"] == "drained"
            first.mode = 200
            assert await order.post("/replicas/r0/undrain") == 200
            await g.until_active(2)
            await asyncio.gather(*(g.embed() for _ in range(20)))
            assert len(first.seen) > 1

    run(go)


def test_a_replica_that_is_listed_as_drained_gets_nothing():
    async def go():
        async with gateway(1) as g, admin(g) as order:
            rows = [{"id": "r0", "url": g.replicas[0].url}, {"id": "new", "url": g.replicas[0].url, "drained": True}]
            assert (await order.ask("PUT", "/replicas", rows)).status == 200
            await g.until(lambda: g.states["new"] == "drained")
            assert {reply.status for reply in await asyncio.gather(*(g.embed() for _ in range(20)))} == {200}
            assert {row["id"]: row["sent"] for row in g.app.status()}["new"] == 0
            await order.ask("PUT", "/replicas", [rows[0], {"id": "new", "url": g.replicas[0].url}])
            assert g.states["new"] == "drained", "a row without `drained` changes nothing"
            await order.ask("PUT", "/replicas", [rows[0], rows[1] | {"drained": False}])
            await g.until_active(2)

    run(go)


def test_a_gateway_starts_with_the_replicas_of_its_file(tmp_path):
    async def go():
        file = tmp_path / "members.json"
        async with gateway(3) as g:
            rows = [endpoint.to_json() for endpoint in g.app.proxy.endpoints.values()]
            file.write_bytes(orjson.dumps([rows[0] | {"drained": False}, rows[1] | {"drained": True}]))
            async with gateway(0) as started:
                restore_replicas(started.app.proxy, file)
                await started.until(lambda: started.states == {"r0": "active", "r1": "drained"})
                assert {(await started.embed()).body for _ in range(20)} == {b"[[0.0]]"}
                for content in (b"", b"[", b'[{"id": "r0"}]', b"{}"):
                    file.write_bytes(content)
                    restore_replicas(started.app.proxy, file)
                restore_replicas(started.app.proxy, tmp_path / "missing")
                assert started.states == {"r0": "active", "r1": "drained"}, "an invalid or missing file changes nothing"

    run(go)


def test_an_unknown_order_is_refused():
    async def go():
        async with gateway(1) as g, admin(g) as order:
            unknown = await order.ask("POST", "/replicas/nobody/drain")
            assert (unknown.status, unknown.body) == (404, b"there is no replica nobody; there are: r0")
            assert await order.post("/replicas/nobody/undrain") == 404
            assert await order.post("/replicas/r0/stop") == 404
            assert await order.post("/replicas//drain") == 404
            assert (await order.ask("GET", "/replicas/r0/drain")).status == 405
            assert await order.post("/replicas") == 405
            assert g.states == {"r0": "active"}

    run(go)
