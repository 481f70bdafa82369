"""One fleet runs per folder; files of a dead fleet are not a fleet, and removed files do not hide a live one."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from embedfleet.control.host.process_identity import identity_of, lock_holder
from embedfleet.control.run.fleet_lock import FleetAddress, FleetLock
from embedfleet.errors import FleetError, FleetSilent, UsageError
from tests.services.fleet import run_cli

HOLD = """
import sys
from pathlib import Path
from embedfleet.control.run.fleet_lock import FleetLock
state = FleetLock(Path(sys.argv[1]))
state.acquire()
if sys.argv[2:]:
    state.write()
print(state.run.path, flush=True)
sys.stdin.read()
state.release()
"""


def start(folder: Path, *words: str) -> subprocess.Popen[str]:
    """Start a process that holds a folder's lock until its stdin ends, and publishes its address if there is a word."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder), *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() != ""
    return process


@pytest.fixture
def holder(tmp_path):
    """A process that holds the lock of the folder ``s`` and has published its address."""
    process = start(tmp_path / "s", "serves")
    yield process
    process.communicate()


def address(process: subprocess.Popen[str], folder: Path) -> FleetAddress:
    return FleetAddress(process.pid, str(folder / "run" / "fleet.sock"), identity_of(process.pid))


def test_a_fleet_can_be_found_from_the_first_moment_and_leaves_nothing(tmp_path):
    state = FleetLock(tmp_path / "deep" / "folder")
    assert state.read() is None
    state.acquire()
    own = identity_of(os.getpid())
    assert FleetLock(state.folder).read() == FleetAddress(os.getpid(), "", own), "the fleet is starting"
    state.write()
    assert FleetLock(state.folder).read() == FleetAddress(os.getpid(), state.socket, own)
    assert state.run.path.stat().st_mode & 0o777 == 0o700
    state.release()
    assert FleetLock(state.folder).read() is None
    assert not state.folder.exists()


def test_an_existing_folder_keeps_its_content(tmp_path):
    (tmp_path / "logs").mkdir()
    state = FleetLock(tmp_path)
    state.acquire()
    state.write()
    state.release()
    assert [path.name for path in tmp_path.iterdir()] == ["logs"]


@pytest.mark.parametrize("words", [(), ("serves",)])
def test_a_second_fleet_is_refused_with_the_pid_of_the_first(tmp_path, words):
    first = start(tmp_path, *words)
    with pytest.raises(UsageError, match=rf"runs already in .* \(pid {first.pid}\)") as caught:
        FleetLock(tmp_path).acquire()
    assert "embedfleet down" in caught.value.hint
    assert FleetLock(tmp_path).read().pid == first.pid
    first.communicate()


def test_a_second_up_leaves_no_files_and_the_first_findable(tmp_path):
    first = start(tmp_path / ".embedfleet", "serves")
    before = sorted((tmp_path / ".embedfleet").rglob("*"))
    with tempfile.TemporaryDirectory() as temporary:
        refused = run_cli(tmp_path, "up", env={"TMPDIR": temporary})
        assert list(Path(temporary).iterdir()) == []
    assert (refused.returncode, f"(pid {first.pid})" in refused.stderr) == (2, True)
    assert sorted((tmp_path / ".embedfleet").rglob("*")) == before
    assert FleetLock(tmp_path / ".embedfleet").read() == address(first, tmp_path / ".embedfleet")
    first.communicate()


def test_the_next_fleet_removes_the_files_of_a_killed_one(holder, tmp_path):
    folder = tmp_path / "s"
    holder.kill()
    holder.wait()
    assert {path.name for path in folder.iterdir()} == {"fleet.json", "lock", "run"}
    (folder / "run" / "embedder.model").touch()
    state = FleetLock(folder)
    assert state.read() is None
    state.acquire()
    assert list(state.run.path.iterdir()) == []
    assert not (folder / "fleet.json").exists()
    state.release()


def test_files_of_a_killed_fleet_can_be_removed_without_a_new_fleet(holder, tmp_path):
    FleetLock(tmp_path / "s").clear()
    assert (tmp_path / "s" / "run").is_dir(), "the fleet still runs"
    holder.kill()
    holder.wait()
    FleetLock(tmp_path / "s").clear()
    assert list((tmp_path / "s").iterdir()) == []
    FleetLock(tmp_path / "nowhere").clear()
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("name", ["precious", "embedfleet-of-others"])
def test_only_folders_that_embedfleet_made_are_removed(tmp_path, name):
    precious = tmp_path / name
    precious.mkdir()
    if name != "precious":
        if os.geteuid() != 0:
            pytest.skip("only root gives folders away")
        os.chown(precious, 65_534, 65_534)
    (tmp_path / "fleet.json").write_text(json.dumps({"pid": 1, "socket": f"{precious}/fleet.sock"}))
    state = FleetLock(tmp_path)
    state.acquire()
    assert precious.is_dir()
    state.release()


@pytest.mark.parametrize("kind", ["link", "file"])
def test_a_link_or_file_in_place_of_the_run_folder_is_replaced(tmp_path, kind):
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").touch()
    if kind == "link":
        (tmp_path / "run").symlink_to(tmp_path / "precious")
    else:
        (tmp_path / "run").touch()
    state = FleetLock(tmp_path)
    state.acquire()
    assert (state.run.path.is_symlink(), state.run.path.is_dir()) == (False, True)
    assert (tmp_path / "precious" / "file").exists()
    state.release()


def garble_lock(folder):
    (folder / "lock").write_text("{")


def empty_lock(folder):
    (folder / "lock").write_text("")


def lie_in_lock(folder):
    (folder / "lock").write_text(json.dumps({"pid": 1, "socket": "/s", "identity": "a b c"}))


def replace_lock(folder):
    (folder / "lock").unlink()
    (folder / "lock").touch()


def remove_lock(folder):
    (folder / "lock").unlink()


def remove_file(folder):
    (folder / "fleet.json").unlink()


def remove_file_and_garble_lock(folder):
    remove_file(folder)
    garble_lock(folder)


CONTENTS = ["", "{}", "[1]", "\0", "[" * 100_000, '{"pid": "1", "socket": 2}', '{"pid": -1, "socket": "/s"}', "null"]
HARM = [garble_lock, empty_lock, lie_in_lock, replace_lock, remove_lock, remove_file, remove_file_and_garble_lock]


@pytest.mark.parametrize("harm", HARM)
def test_a_fleet_is_found_despite_damage_to_its_files(holder, tmp_path, harm):
    (tmp_path / "s" / "run" / "fleet.sock").touch()
    harm(tmp_path / "s")
    assert FleetLock(tmp_path / "s").read() == address(holder, tmp_path / "s")
    with pytest.raises(UsageError, match=rf"\(pid {holder.pid}\)"):
        FleetLock(tmp_path / "s").acquire()


@pytest.mark.parametrize("content", CONTENTS)
def test_an_invalid_state_file_does_not_hide_a_fleet(holder, tmp_path, content):
    (tmp_path / "s" / "fleet.json").write_text(content)
    assert FleetLock(tmp_path / "s").read() == address(holder, tmp_path / "s")


def test_a_fleet_of_an_older_version_is_found(tmp_path):
    """The fleet left an empty lock file, and its socket in the temporary folder."""
    first = start(tmp_path, "serves")
    empty_lock(tmp_path)
    (tmp_path / "fleet.json").write_text(json.dumps({"pid": first.pid, "socket": "/tmp/embedfleet-x/fleet.sock"}))
    assert FleetLock(tmp_path).read() == FleetAddress(first.pid, "/tmp/embedfleet-x/fleet.sock")
    first.communicate()


@pytest.mark.parametrize("harm", [*HARM, shutil.rmtree])
def test_a_running_fleet_restores_its_files(tmp_path, harm):
    state = FleetLock(tmp_path / "s")
    state.acquire()
    state.write()
    assert state.mend() == []
    own = FleetLock(state.folder).read()
    harm(state.folder)
    assert {path.name for path in state.mend()} <= {"lock", "fleet.json"}
    assert FleetLock(state.folder).read() == own
    assert state.mend() == []
    state.release()
    assert state.mend() == [], "without the lock nothing is restored"
    assert not (state.folder / "lock").exists()


def test_a_lock_that_another_fleet_has_taken_is_left_to_it(tmp_path):
    first = FleetLock(tmp_path / "s")
    first.acquire()
    first.write()
    shutil.rmtree(first.folder)
    second = start(first.folder)
    with pytest.raises(OSError, match="another fleet holds the new one"):
        first.mend()
    first.release()
    assert FleetLock(first.folder).read().pid == second.pid
    second.communicate()


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="file/state cannot be written: Not a directory"):
        FleetLock(tmp_path / "file" / "state").acquire()


def test_the_kernel_says_who_holds_a_lock(holder, tmp_path):
    assert lock_holder((tmp_path / "s" / "lock").stat()) == holder.pid
    (tmp_path / "other").touch()
    assert lock_holder((tmp_path / "other").stat()) == 0


def test_an_identity_belongs_to_one_process():
    assert identity_of(os.getpid()) == identity_of(os.getpid())
    assert identity_of(os.getppid()) not in {"", identity_of(os.getpid())}
    assert identity_of(2**22 + 1) == ""


def test_a_fleet_is_terminated_by_its_pid(holder, tmp_path):
    state = FleetLock(tmp_path / "s")
    state.terminate(state.read())
    assert holder.wait() == -signal.SIGTERM


@pytest.mark.parametrize("pid", [0, "other"])
def test_a_process_that_may_not_be_the_fleet_gets_no_signal(holder, tmp_path, pid):
    with subprocess.Popen(["sleep", "60"]) as other:
        said = FleetAddress(other.pid if pid else 0, "/s", "another boot another namespace 4711")
        with pytest.raises(FleetError, match="a process that cannot be seen from here"):
            FleetLock(tmp_path / "s").terminate(said)
        assert other.poll() is None
        other.kill()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user for a while")
def test_without_read_permission_the_error_says_so(tmp_path):
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    state = FleetLock(folder)
    state.acquire()
    state.write()
    os.setegid(65_534)
    os.seteuid(65_534)
    try:
        with pytest.raises(FleetSilent, match="cannot see whether a fleet runs") as caught:
            FleetLock(folder).read()
        with pytest.raises(UsageError, match="Permission denied") as refused:
            FleetLock(folder).acquire()
    finally:
        os.seteuid(0)
        os.setegid(0)
        state.release()
        shutil.rmtree(folder)
    assert caught.value.hint == "run it as root"
    assert "run it as root" in refused.value.hint
