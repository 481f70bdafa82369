"""One fleet a folder; what a dead one left behind is no fleet."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from embedfleet.control.statefile import Address, StateFile, make_socket_folder
from embedfleet.errors import UsageError
from tests.services.fleet import run_cli

HOLD = """
import sys
from pathlib import Path
from embedfleet.control.statefile import Address, StateFile, make_socket_folder
folder = make_socket_folder()
state = StateFile(Path(sys.argv[1]))
state.acquire()
state.write(Address(4711, str(folder / "fleet.sock")))
print(folder, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def killed(tmp_path):
    """The socket folder of a fleet that held the folder and was killed."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        folder = Path(process.stdout.readline().strip())
        assert folder.is_dir()
        assert StateFile(tmp_path).read() == Address(4711, str(folder / "fleet.sock"))
        process.kill()
    return folder


def test_a_fleet_can_be_found_while_it_lives(tmp_path):
    state = StateFile(tmp_path / "deep" / "folder")
    assert state.read() is None
    state.acquire()
    assert state.read() is None, "it has not said where it is"
    state.write(Address(os.getpid(), "/s/fleet.sock"))
    assert StateFile(state.folder).read() == Address(os.getpid(), "/s/fleet.sock")
    state.release()
    assert StateFile(state.folder).read() is None


def test_a_second_fleet_is_refused_and_told_who_is_there(tmp_path):
    first = StateFile(tmp_path)
    first.acquire()
    first.write(Address(4711, "/s/fleet.sock"))
    with pytest.raises(UsageError, match=r"runs already in .* \(pid 4711\)") as caught:
        StateFile(tmp_path).acquire()
    assert "embedfleet down" in caught.value.hint
    first.release()


def test_a_second_up_leaves_the_first_findable_and_nothing_of_its_own(tmp_path):
    state = StateFile(tmp_path / ".embedfleet")
    state.acquire()
    state.write(Address(4711, "/s/fleet.sock"))
    with tempfile.TemporaryDirectory(dir="/tmp") as temporary:  # a path that is short enough for sockets
        refused = run_cli(tmp_path, "up", env={"TMPDIR": temporary})
        assert list(Path(temporary).iterdir()) == []
    assert "a fleet runs already in" in refused.stderr
    assert state.read() == Address(4711, "/s/fleet.sock")
    state.release()


def test_a_killed_fleet_is_not_there_any_more_and_the_next_one_removes_its_sockets(killed, tmp_path):
    state = StateFile(tmp_path)
    assert state.read() is None
    state.acquire()
    assert not killed.exists()
    assert state.read() is None
    state.release()


def test_nothing_but_a_socket_folder_is_ever_removed(tmp_path):
    precious = tmp_path / "precious"
    precious.mkdir()
    state = StateFile(tmp_path)
    (tmp_path / "fleet.json").write_text(f'{{"pid": 1, "socket": "{precious}/fleet.sock"}}')
    state.acquire()
    assert precious.is_dir()
    state.release()


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"pid": 1, "socket": "/s", "more": 2}'])
def test_a_state_file_of_another_version_is_no_fleet(tmp_path, content):
    state = StateFile(tmp_path)
    state.acquire()
    (tmp_path / "fleet.json").write_text(content)
    assert StateFile(tmp_path).read() is None
    state.release()


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="file/state cannot be written: Not a directory"):
        StateFile(tmp_path / "file" / "state").acquire()


def test_the_path_of_a_socket_is_never_too_long(tmp_path, monkeypatch):
    deep = tmp_path / ("d" * 100)
    deep.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    folder = make_socket_folder()
    try:
        assert len(str(folder / f"{'n' * 31}.sock")) <= 107
        assert folder.stat().st_mode & 0o777 == 0o700
    finally:
        folder.rmdir()
