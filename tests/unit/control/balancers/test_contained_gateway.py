"""A gateway in a container gets its replicas through a shared folder, which keeps them for its next start."""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import orjson
import pytest

from embedfleet.control.balancers.contained_gateway import ContainedGateway, reports_in
from embedfleet.control.balancers.gateway_folder import GatewayFolder, socket_in
from embedfleet.errors import UpstreamError
from embedfleet.types import Endpoint, Member
from tests.services.driver import FakeGateway

INSIDE = {"r0": "http://r0:80", "r1": "http://r1:80"}
HERE = [Endpoint("r0", "http://172.18.0.2:80"), Endpoint("r1", "http://172.18.0.3:80")]


@pytest.fixture
def folder(tmp_path) -> GatewayFolder:
    made = GatewayFolder(tmp_path / ("d" * 100) / ("e" * 100) / "gateway" / "embedder")
    made.prepare()
    return made


def remembered(folder: GatewayFolder) -> list[dict[str, object]]:
    return orjson.loads((folder.path / "members.json").read_bytes())


@asynccontextmanager
async def listening(folder: GatewayFolder) -> AsyncIterator[FakeGateway]:
    gateway, descriptor = FakeGateway(), folder.open()
    await gateway.server.start(path=socket_in(descriptor))
    try:
        yield gateway
    finally:
        await gateway.server.stop(0)
        os.close(descriptor)


def test_the_gateway_gets_urls_of_its_network_and_reports_have_urls_of_this_machine(folder):
    async def go():
        balancer = ContainedGateway.open(folder, INSIDE)
        async with listening(folder) as gateway:
            assert folder.has_socket
            await balancer.publish(HERE, {"r1"})
            assert gateway.members == [
                {"id": "r0", "url": "http://r0:80", "drained": False},
                {"id": "r1", "url": "http://r1:80", "drained": True},
            ]
            assert remembered(folder) == gateway.members
            rows = await balancer.reports()
            assert {row.id: (row.endpoint.url, row.state) for row in rows} == {
                "r0": (HERE[0].url, "active"),
                "r1": (HERE[1].url, "drained"),
            }
            assert [row.state for row in await reports_in(folder)] == ["active", "drained"]
        await balancer.close()

    asyncio.run(go())


def test_replicas_that_cannot_be_sent_now_are_in_the_file_for_the_next_start(folder):
    async def go():
        balancer = ContainedGateway.open(folder, INSIDE)
        with pytest.raises(UpstreamError):
            await balancer.publish(HERE[:1], set())
        assert remembered(folder) == [{"id": "r0", "url": "http://r0:80", "drained": False}]
        assert await balancer.reports() == await reports_in(folder) == []
        await balancer.close()
        assert await balancer.reports() == [], "it is closed"

    asyncio.run(go())


def test_a_replica_that_left_the_plan_or_moved_is_removed_from_the_file(folder):
    async def go():
        members = [Member(Endpoint(f"r{n}", f"http://r{n}:80")) for n in range(3)]
        folder.write([*members, Member(Endpoint("r1", "http://elsewhere:80"))])
        await ContainedGateway.open(folder, INSIDE).close()
        assert remembered(folder) == [member.to_json() for member in members[:2]]

    asyncio.run(go())


def test_without_planned_replicas_those_of_the_earlier_fleet_keep_serving(folder):
    async def go():
        folder.write([Member(Endpoint(f"r{n}", f"http://r{n}:80"), is_drained=True) for n in range(2)])
        balancer = ContainedGateway.open(folder, {"r0": "http://r0:80"})
        async with listening(folder) as gateway:
            for told, members in ((HERE[:1], ["r0"]), ([], ["r1"]), (HERE[:1], ["r0"])):
                await balancer.publish(told, set())
                assert [(row["id"], row["drained"]) for row in gateway.members] == [(name, False) for name in members]
            assert remembered(folder) == gateway.members
        await balancer.close()

    asyncio.run(go())


def test_replicas_that_cannot_be_written_are_not_sent(folder):
    """The gateway gets nothing that its file lacks, because it would lose that at its next start."""

    async def go():
        balancer = ContainedGateway.open(folder, INSIDE)
        async with listening(folder) as gateway:
            shutil.rmtree(folder.path)
            with pytest.raises(UpstreamError, match="No such file"):
                await balancer.publish(HERE, set())
            assert gateway.members == []
            folder.path.mkdir()
        await balancer.close()

    asyncio.run(go())
