"""Unix sockets at paths of any length, which are bound again after they were removed."""

import asyncio
import os
import shutil
import socket
from pathlib import Path

import pytest
import uvloop

from embedfleet.errors import UpstreamError
from embedfleet.http.client import fetch
from embedfleet.http.server import Server
from embedfleet.http.unix_socket import UnixSocket
from tests.services.http import WAIT_S, echo, run

NAMES = ["short", "d" * 150, "a: b%20?#", "é" * 60, "colon:"]


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def ask(path: Path) -> bytes:
    return (await fetch(f"http+unix://{path}:/a", timeout_s=WAIT_S)).body


async def until_asked(path: Path) -> bytes:
    while True:
        try:
            return await ask(path)
        except UpstreamError:
            await asyncio.sleep(0)


def listening(path: Path) -> tuple[UnixSocket, socket.socket]:
    made = UnixSocket(str(path))
    bound = made.bind()
    bound.listen()
    return made, bound


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("runner", [asyncio.run, uvloop.run])
def test_a_server_is_reachable_whatever_the_name_of_its_sockets_folder(tmp_path, name, runner):
    path = tmp_path / name / "s.sock"
    path.parent.mkdir()

    async def go():
        server = Server(echo)
        await server.start(path=str(path), mode=0o640)
        assert path.stat().st_mode & 0o777 == 0o640
        assert await ask(path) == b"GET /a "
        before = open_files()
        assert await ask(path) == b"GET /a "
        assert open_files() <= before, "a descriptor of the folder is left open"
        await server.stop(0)
        assert not path.exists(), "a server that stops leaves no socket"

    runner(go())


def remove_socket(path: Path) -> None:
    path.unlink()


def remove_folder(path: Path) -> None:
    shutil.rmtree(path.parent)


def remove_all_above(path: Path) -> None:
    shutil.rmtree(path.parent.parent)


def write_over(path: Path) -> None:
    path.unlink()
    path.write_text("not a socket")


def leave_a_dead_one(path: Path) -> None:
    path.unlink()
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))


HARM = [remove_socket, remove_folder, remove_all_above, write_over, leave_a_dead_one]


@pytest.mark.parametrize("harm", HARM)
def test_a_removed_or_replaced_socket_is_restored(tmp_path, harm):
    path = tmp_path / "a" / "b" / "s.sock"
    path.parent.mkdir(parents=True)
    made, bound = listening(path)
    assert made.bind_again() is None, "nothing has to be restored"
    harm(path)
    again = made.bind_again()
    assert again is not None
    again.listen()
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
    assert path.stat().st_mode & 0o777 == 0o600
    assert made.bind_again() is None
    for each in (bound, again):
        each.close()


def test_a_restored_folder_is_accessible_to_its_owner_only(tmp_path):
    path = tmp_path / "run" / "s.sock"
    path.parent.mkdir()
    made, bound = listening(path)
    remove_folder(path)
    made.bind_again().close()
    assert path.parent.stat().st_mode & 0o777 == 0o700
    bound.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives folders away")
def test_no_socket_is_bound_in_a_folder_of_another_user(tmp_path):
    path = tmp_path / "run" / "s.sock"
    path.parent.mkdir()
    made, bound = listening(path)
    remove_folder(path)
    path.parent.mkdir()
    os.chown(path.parent, 65_534, 65_534)
    with pytest.raises(PermissionError, match="its folder now belongs to user 65534"):
        made.bind_again()
    bound.close()


def test_a_socket_of_another_listening_process_is_left_alone(tmp_path):
    path = tmp_path / "s.sock"
    first, bound = listening(path)
    _, other = listening(path)
    inode = path.stat().st_ino
    assert first.bind_again() is None
    first.remove()
    assert path.stat().st_ino == inode, "the socket of another process is not removed"
    for each in (bound, other):
        each.close()


@pytest.mark.parametrize("harm", [remove_folder, write_over])
def test_a_server_restores_its_socket_and_keeps_its_connections(tmp_path, harm):
    path = tmp_path / "run" / "s.sock"
    path.parent.mkdir()

    async def go():
        server = Server(echo)
        await server.start(path=str(path))
        reader, writer = await asyncio.open_unix_connection(str(path))
        harm(path)
        assert await until_asked(path) == b"GET /a "
        writer.write(b"GET /b HTTP/1.1\r\nhost: h\r\n\r\n")
        assert b"GET /b" in await reader.readuntil(b"GET /b ")
        writer.close()
        await server.stop(0)
        assert not path.exists()

    run(go)
