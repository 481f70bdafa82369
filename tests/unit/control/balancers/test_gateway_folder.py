"""A gateway in a container: told and asked through a folder that may lie deep, and that remembers for it."""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import orjson
import pytest

from embedfleet.control.balancers.gateway import ContainedGateway, states_in
from embedfleet.control.balancers.gateway_folder import GatewayFolder, socket_in
from embedfleet.errors import UpstreamError
from embedfleet.types import Endpoint
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


def test_it_is_told_by_the_names_of_its_network_and_its_answers_have_the_urls_of_this_machine(folder):
    async def go():
        balancer = ContainedGateway(folder, INSIDE)
        async with listening(folder) as gateway:
            assert folder.has_socket
            await balancer.publish(HERE, {"r1"})
            assert gateway.members == [
                {"id": "r0", "url": "http://r0:80", "drained": False},
                {"id": "r1", "url": "http://r1:80", "drained": True},
            ]
            assert remembered(folder) == gateway.members
            rows = await balancer.states()
            assert {row["id"]: (row["url"], row["state"]) for row in rows} == {
                "r0": (HERE[0].url, "active"),
                "r1": (HERE[1].url, "drained"),
            }
            assert [row["state"] for row in await states_in(folder)] == ["active", "drained"]
        await balancer.close()

    asyncio.run(go())


def test_what_it_cannot_be_told_now_it_finds_when_it_starts(folder):
    async def go():
        balancer = ContainedGateway(folder, INSIDE)
        with pytest.raises(UpstreamError):
            await balancer.publish(HERE[:1], set())
        assert remembered(folder) == [{"id": "r0", "url": "http://r0:80", "drained": False}]
        assert await balancer.states() == await states_in(folder) == []
        await balancer.close()
        assert await balancer.states() == [], "nobody looks after it any more"

    asyncio.run(go())


def test_a_replica_that_is_planned_no_more_or_elsewhere_is_forgotten(folder):
    async def go():
        rows = [{"id": f"r{n}", "url": f"http://r{n}:80"} for n in range(3)]
        folder.write([*rows, {"id": "r1", "url": "http://elsewhere:80"}])
        await ContainedGateway(folder, INSIDE).close()
        assert remembered(folder) == rows[:2]

    asyncio.run(go())


def test_while_there_are_none_of_ours_those_go_on_that_served_before_us(folder):
    async def go():
        folder.write([{"id": f"r{n}", "url": f"http://r{n}:80", "drained": True} for n in range(2)])
        balancer = ContainedGateway(folder, {"r0": "http://r0:80"})
        async with listening(folder) as gateway:
            for told, members in ((HERE[:1], ["r0"]), ([], ["r1"]), (HERE[:1], ["r0"])):
                await balancer.publish(told, set())
                assert [(row["id"], row["drained"]) for row in gateway.members] == [(name, False) for name in members]
            assert remembered(folder) == gateway.members
        await balancer.close()

    asyncio.run(go())


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"{", b"[1]", b"[{}]", b"7", b"\xff", b"[" * 5000, b" " * (2 << 20)),
        b'[{"id": 1, "url": "http://r0:80"}]',
        b'[{"id": ["r0"], "url": "http://r0:80"}]',
        b'[{"id": "", "url": "http://r0:80"}]',
        b'[{"id": "r\\n0", "url": "http://r0:80"}]',
        b'[{"id": "r0", "url": null}]',
        b'[{"id": "r0", "url": "file:///etc/passwd"}]',
        b'[{"id": "r0", "url": "http://r0:99999"}]',
        b'[{"id": "r0", "url": "http://r0:80", "drained": "no"}]',
        b'[{"id": "r0", "url": "http://r0:80"}, 7]',
    ],
)
def test_a_file_that_makes_no_sense_is_removed_with_a_word(folder, caplog, content):
    (folder.path / "members.json").write_bytes(content)
    assert folder.keep(INSIDE) == []
    assert list(folder.path.iterdir()) == []
    assert "members.json is of no use" in caplog.text


def _link(file: Path) -> None:
    other = file.parent.parent / "other"
    other.write_text('[{"id": "r9", "url": "http://r9:80"}]')
    file.symlink_to(other)


@pytest.mark.parametrize("plant", [Path.mkdir, os.mkfifo, _link])
@pytest.mark.parametrize("name", ["members.json", "members.new"])
def test_what_is_no_file_is_neither_read_nor_waited_for_and_makes_room(folder, plant, name):
    plant(folder.path / name)
    assert folder.keep(INSIDE) == []
    folder.write([{"id": "r0", "url": "http://r0:80"}])
    assert remembered(folder) == [{"id": "r0", "url": "http://r0:80"}]
    assert [file.name for file in folder.path.iterdir()] == ["members.json"]


def test_a_folder_that_turns_up_after_the_start_makes_room_too(folder):
    folder.keep(INSIDE)
    (folder.path / "members.json" / "deep").mkdir(parents=True)
    folder.write([])
    assert remembered(folder) == []


@pytest.mark.parametrize("plant", [Path.touch, lambda path: path.symlink_to("/nowhere")])
def test_what_is_no_folder_makes_room_for_one(tmp_path, plant):
    folder = GatewayFolder(tmp_path / "gateway" / "embedder")
    folder.path.parent.mkdir()
    plant(folder.path)
    folder.prepare()
    folder.write([])
    assert remembered(folder) == []


def test_a_socket_that_is_a_link_is_none(folder):
    (folder.path / "admin.sock").symlink_to("/run/docker.sock")
    assert not folder.has_socket


def test_what_cannot_be_written_down_is_told_later(folder):
    """A gateway that could not find it again would serve by what was before."""

    async def go():
        balancer = ContainedGateway(folder, INSIDE)
        async with listening(folder) as gateway:
            shutil.rmtree(folder.path)
            with pytest.raises(UpstreamError, match="No such file"):
                await balancer.publish(HERE, set())
            assert gateway.members == []
            folder.path.mkdir()
        await balancer.close()

    asyncio.run(go())


def test_whatever_the_umask_the_containers_user_may_write_and_others_may_not_enter(tmp_path):
    folder = GatewayFolder(tmp_path / "gateway" / "embedder")
    before = os.umask(0o077)
    try:
        folder.prepare()
        folder.write([])
    finally:
        os.umask(before)
    assert folder.path.parent.stat().st_mode & 0o777 == 0o700
    assert folder.path.stat().st_mode & 0o777 == 0o777
    assert (folder.path / "members.json").stat().st_mode & 0o777 == 0o644
    folder.remove()
    assert not folder.path.exists()
    with pytest.raises(FileNotFoundError):
        folder.open()


def test_a_link_that_the_container_left_is_not_followed(folder, tmp_path):
    other = tmp_path / "other"
    other.write_text("kept")
    (folder.path / "members.new").symlink_to(other)
    (folder.path / "members.json").symlink_to(other)
    folder.write([{"id": "r0", "url": "http://r0:80"}])
    assert other.read_text() == "kept"
    assert remembered(folder) == [{"id": "r0", "url": "http://r0:80"}]
