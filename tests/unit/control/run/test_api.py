"""The admin API reports what driver and gateway know, and carries out an order or refuses it with a reason."""

import orjson

from embedfleet.control.run.api import FleetApi, fleet_status
from embedfleet.control.run.reload import Replaced
from embedfleet.errors import UsageError
from embedfleet.http.client import fetch
from tests.services.supervisor import LIMIT_S, run, serving


def test_the_status_joins_what_the_driver_and_the_gateway_know(tmp_path):
    async def test() -> None:
        async with serving(tmp_path) as made:
            made.driver.running["s-1"].end(-9)
            await made.until(lambda: made.driver.count("s-1") == 2)
            await made.until(lambda: made.child("s-1").observed.phase == "ready")
            (service,) = (await fleet_status(made.supervisor)).services
            assert (service.name, service.gateway.process.phase) == ("s", "ready")
            first, second = service.replicas
            assert (first.id, first.state, first.process.restarts) == ("s-0", "active", 0)
            assert (second.process.restarts, second.url) == (1, f"http://127.0.0.1:{made.ports[1]}")
            await made.gateway.server.stop(0)
            (service,) = (await fleet_status(made.supervisor)).services
            assert [row.state for row in service.replicas] == ["ready", "ready"], "only the process is known"

    run(test)


async def no_gateways() -> list[Replaced]:
    raise UsageError("no gateway", "none")


def test_the_api_carries_out_orders_or_refuses_them_with_a_reason(tmp_path):
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
            await made.until_drained(s0=False, s1=True)
            for path in ("/replicas/s-0/stop", "/drain", "/x/stop", "/replicas"):
                assert (await post(path))[0] == 404
            await api.server.stop(0)

    run(test)
