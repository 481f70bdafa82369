"""A replica that does not answer control still lives if its gateway gets answers from it."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from embedfleet.control.balancers.gateway import GatewayBalancer
from embedfleet.control.plan.specs import ProcessSpec
from embedfleet.control.run.liveness_check import LivenessCheck
from embedfleet.errors import TimedOut
from tests.services.driver import FakeGateway

REPLICA = ProcessSpec("s-0", "s", "replica")


@asynccontextmanager
async def asking(folder: Path) -> AsyncIterator[tuple[FakeGateway, LivenessCheck]]:
    """A gateway, and a check of a replica that accepts connections and does not answer."""
    gateway = FakeGateway()
    await gateway.server.start(path=str(folder / "s.sock"))
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        yield gateway, LivenessCheck(REPLICA, GatewayBalancer(str(folder / "s.sock")), lambda: url, timeout_s=0.05)
    await gateway.server.stop(0)


def tell(gateway: FakeGateway, *, sent: int, requests: int) -> None:
    gateway.members = [{"id": "s-0", "url": "", "sent": sent, "requests": requests}]


def test_answers_to_the_gateway_count_as_life(tmp_path):
    async def test() -> None:
        async with asking(tmp_path) as (gateway, check):
            tell(gateway, sent=5, requests=1)
            with pytest.raises(TimedOut):  # those may be from before the first check
                await check.run()
            tell(gateway, sent=9, requests=2)
            await check.run()
            with pytest.raises(TimedOut):  # no answers since
                await check.run()

    asyncio.run(test())


@pytest.mark.parametrize(("state", "requests"), [("suspect", 0), ("ejected", 0), ("active", 7)])
def test_only_answers_of_an_active_replica_count_as_life(tmp_path, state, requests):
    async def test() -> None:
        async with asking(tmp_path) as (gateway, check):
            gateway.state = state
            tell(gateway, sent=2, requests=0)
            with pytest.raises(TimedOut):
                await check.run()
            tell(gateway, sent=9, requests=requests)
            with pytest.raises(TimedOut):
                await check.run()

    asyncio.run(test())


def test_without_its_gateway_a_silent_replica_stays_silent(tmp_path):
    async def test() -> None:
        async with asking(tmp_path) as (gateway, check):
            await gateway.server.stop(0)
            with pytest.raises(TimedOut):
                await check.run()

    asyncio.run(test())
