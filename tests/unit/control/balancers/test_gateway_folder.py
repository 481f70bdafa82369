"""The folder of a gateway in a container works whatever it contains, and keeps the replicas that were written last."""

import os
from pathlib import Path

import orjson
import pytest

from embedfleet.control.balancers.gateway_folder import GatewayFolder
from embedfleet.types import Endpoint, Member

INSIDE = {"r0": "http://r0:80", "r1": "http://r1:80"}
HERE = [Endpoint("r0", "http://172.18.0.2:80"), Endpoint("r1", "http://172.18.0.3:80")]


@pytest.fixture
def folder(tmp_path) -> GatewayFolder:
    made = GatewayFolder(tmp_path / ("d" * 100) / ("e" * 100) / "gateway" / "embedder")
    made.prepare()
    return made


def remembered(folder: GatewayFolder) -> list[dict[str, object]]:
    return orjson.loads((folder.path / "members.json").read_bytes())


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
def test_an_invalid_file_is_removed_with_a_warning(folder, caplog, content):
    (folder.path / "members.json").write_bytes(content)
    assert folder.keep(INSIDE) == []
    assert list(folder.path.iterdir()) == []
    assert "members.json cannot be used" in caplog.text


def _link(file: Path) -> None:
    other = file.parent.parent / "other"
    other.write_text('[{"id": "r9", "url": "http://r9:80"}]')
    file.symlink_to(other)


@pytest.mark.parametrize("plant", [Path.mkdir, os.mkfifo, _link])
@pytest.mark.parametrize("name", ["members.json", "members.new"])
def test_folders_pipes_and_links_in_place_of_the_file_are_replaced_unread(folder, plant, name):
    plant(folder.path / name)
    assert folder.keep(INSIDE) == []
    folder.write([Member(Endpoint("r0", "http://r0:80"))])
    assert remembered(folder) == [{"id": "r0", "url": "http://r0:80"}]
    assert [file.name for file in folder.path.iterdir()] == ["members.json"]


def test_a_folder_that_appears_in_place_of_the_file_is_replaced(folder):
    folder.keep(INSIDE)
    (folder.path / "members.json" / "deep").mkdir(parents=True)
    folder.write([])
    assert remembered(folder) == []


@pytest.mark.parametrize("plant", [Path.touch, lambda path: path.symlink_to("/nowhere")])
def test_a_file_or_link_in_place_of_the_folder_is_replaced(tmp_path, plant):
    folder = GatewayFolder(tmp_path / "gateway" / "embedder")
    folder.path.parent.mkdir()
    plant(folder.path)
    folder.prepare()
    folder.write([])
    assert remembered(folder) == []


def test_a_link_is_not_a_socket(folder):
    (folder.path / "admin.sock").symlink_to("/run/docker.sock")
    assert not folder.has_socket


def test_with_any_umask_the_containers_user_may_write_and_others_may_not_enter(tmp_path):
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
    folder.write([Member(Endpoint("r0", "http://r0:80"))])
    assert other.read_text() == "kept"
    assert remembered(folder) == [{"id": "r0", "url": "http://r0:80"}]
