"""A running fleet can be found and stopped, whatever is removed, broken, full or forbidden around it."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from embedfleet.control.run.fleet_lock import FleetLock
from tests.e2e.fleet.test_remote import replicas
from tests.services.fleet import COMMAND, LIMIT_S, Fleet, free_ports, is_alive, run_cli

pytestmark = pytest.mark.slow

PLAN = """
[services.embedder]
port = {port}
replicas = ["{url}"]
[services.reranker]
enabled = false
"""
Verb = Callable[..., subprocess.CompletedProcess[str]]
# Runs a verb as another user, after root has imported its modules.
AS_NOBODY = """
import os, sys
import uvloop
import embedfleet.cli.main
from embedfleet.cli.verbs import down, logs, status, up
os.setgroups([]); os.setgid(65534); os.setuid(65534)
embedfleet.cli.main.main()
"""


@contextmanager
def running(
    folder: Path, *, env: dict[str, str] | None = None, prefix: tuple[str, ...] = (), verb: Verb | None = None
) -> Iterator[Fleet]:
    """Run a fleet of a gateway and a remote replica during the block; end it afterwards if it still runs.

    Args:
        folder: Folder of the fleet.
        env: Additional environment variables of the fleet.
        prefix: First words of the command line, such as a program that runs the rest in a namespace.
        verb: Function that runs a verb where the fleet is; None for this process's own namespaces.
    """
    (port,) = free_ports(1)
    with replicas(1) as (replica,):
        (folder / "fleet.toml").write_text(PLAN.format(port=port, url=replica.url))
        with (folder / "said").open("wb") as said:
            process = subprocess.Popen(
                [*prefix, *COMMAND, "up"], cwd=folder, env=os.environ | (env or {}), stdout=said, stderr=said
            )
        fleet = Fleet(folder, [port, port], process)
        try:
            until_whole(fleet, verb or verb_here)
            yield fleet
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            process.wait(LIMIT_S)


def verb_here(fleet: Fleet, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run_cli(fleet.folder, *arguments)


def until_whole(fleet: Fleet, verb: Verb = verb_here) -> None:
    while verb(fleet, "status").returncode != 0:
        assert fleet.process.poll() is None, (fleet.folder / "said").read_text()


def until_reachable(folder: Path) -> None:
    """Wait until the fleet's socket exists and accepts connections."""
    while run_cli(folder, "status", "--json").returncode == 3:
        pass


def state_of(fleet: Fleet) -> Path:
    return fleet.folder / ".embedfleet"


@contextmanager
def stopped(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Stop the fleet during the block so that it repairs nothing."""
    process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        process.send_signal(signal.SIGCONT)


def test_nothing_of_a_fleet_is_in_the_temporary_folder(tmp_path):
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    with running(tmp_path, env={"TMPDIR": str(temporary)}) as fleet:
        assert list(temporary.iterdir()) == []
        assert {path.name for path in (state_of(fleet) / "run").iterdir()} == {
            "fleet.sock",
            "embedder.sock",
            "embedder.model",
        }
        fleet.process.kill()
        fleet.process.wait()
    assert list(temporary.iterdir()) == []
    assert "no fleet runs" in run_cli(tmp_path, "down").stderr
    assert [path.name for path in state_of(fleet).iterdir()] == ["logs"], "what the killed fleet left is removed"


def test_with_any_umask_only_the_owner_may_write_to_the_state_folder(tmp_path):
    before = os.umask(0)
    try:
        with running(tmp_path) as fleet:
            found = [state_of(fleet), *state_of(fleet).rglob("*")]
            assert [path for path in found if path.stat().st_mode & 0o022] == []
            assert len(found) > 5
    finally:
        os.umask(before)


def sweep_run(state: Path) -> None:
    shutil.rmtree(state / "run")


def sweep_sockets(state: Path) -> None:
    for path in (state / "run").glob("*.sock"):
        path.unlink()


def write_over_sockets(state: Path) -> None:
    for path in (state / "run").glob("*.sock"):
        path.unlink()
        path.write_text("")


def sweep_files(state: Path) -> None:
    (state / "lock").unlink()
    (state / "fleet.json").write_text("{")


def sweep_run_and_lock(state: Path) -> None:
    sweep_run(state)
    (state / "lock").unlink()


SWEEPS = [sweep_run, sweep_sockets, write_over_sockets, sweep_files, shutil.rmtree]


@pytest.mark.parametrize("sweep", SWEEPS)
def test_removed_files_are_restored_and_every_verb_works(tmp_path, sweep):
    with running(tmp_path) as fleet:
        sweep(state_of(fleet))
        until_reachable(tmp_path)
        until_whole(fleet)  # the status includes the gateway's answer
        name = fleet.replicas("embedder")[0]["id"]
        assert run_cli(tmp_path, "drain", name, "--force").returncode == 0
        assert run_cli(tmp_path, "undrain", name).returncode == 0
        refused = run_cli(tmp_path, "up")
        assert (refused.returncode, f"pid {fleet.process.pid}" in refused.stderr) == (2, True)
        down = run_cli(tmp_path, "down")
        assert (down.returncode, down.stderr) == (0, f"stopping the fleet (pid {fleet.process.pid})\nstopped\n")
        assert fleet.process.wait(LIMIT_S) == 0
    assert "restored" in (tmp_path / "said").read_text()


@pytest.mark.parametrize("sweep", [sweep_run, write_over_sockets, sweep_run_and_lock])
def test_a_fleet_that_cannot_restore_its_files_is_found_and_stopped_by_its_pid(tmp_path, sweep):
    with running(tmp_path) as fleet:
        pid = fleet.process.pid
        with stopped(fleet.process):
            sweep(state_of(fleet))
            seen, told = run_cli(tmp_path, "status"), run_cli(tmp_path, "status", "--json")
            down = subprocess.Popen([*COMMAND, "down"], cwd=tmp_path, stderr=subprocess.PIPE, text=True)
            assert f"(pid {pid}) runs, but cannot be asked: nothing listens at" in down.stderr.readline()
            assert "stopping the fleet" in down.stderr.readline()
        assert "stopped" in down.communicate(timeout=LIMIT_S)[1]
        assert (down.returncode, fleet.process.wait(LIMIT_S)) == (0, 0)
    assert (seen.returncode, told.returncode) == (1, 1)
    assert (
        f"error: the fleet in {state_of(fleet)} (pid {pid}) runs, but cannot be asked: nothing listens" in seen.stderr
    )
    said = json.loads(told.stdout)
    assert (said["running"], said["starting"], said["pid"], said["services"]) == (True, False, pid, [])


def test_a_stopped_fleet_is_reported_as_running(tmp_path):
    with running(tmp_path) as fleet, stopped(fleet.process):
        seen = run_cli(tmp_path, "status")
        assert (seen.returncode, "does not answer" in seen.stderr) == (1, True)


def test_a_starting_fleet_is_found_and_can_be_stopped(tmp_path):
    """The fleet waits for a silent daemon here; loading images may take as long."""
    pytest.importorskip("docker")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        settings = ("embedder.driver=docker", f"fleet.docker_host=tcp://127.0.0.1:{silent.getsockname()[1]}")
        process = subprocess.Popen(
            [*COMMAND, "up", *(word for setting in settings for word in ("--set", setting))],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            silent.settimeout(LIMIT_S)
            held, _ = silent.accept()
            seen, told = run_cli(tmp_path, "status"), json.loads(run_cli(tmp_path, "status", "--json").stdout)
            refused, down = run_cli(tmp_path, "up"), run_cli(tmp_path, "down")
        finally:
            process.kill()
            _, stderr = process.communicate()
            held.close()
    assert (seen.returncode, f"(pid {process.pid}) is starting" in seen.stderr) == (1, True)
    assert (told["running"], told["starting"], told["pid"]) == (True, True, process.pid)
    assert (refused.returncode, "a fleet runs already" in refused.stderr) == (2, True)
    assert (down.returncode, down.stderr) == (0, f"stopping the fleet (pid {process.pid})\nstopped\n")
    assert (process.returncode, "error: interrupted" in stderr, "Traceback" in stderr) == (1, True, False)
    assert not (tmp_path / ".embedfleet").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize("mode", [0o755, 0o700])
def test_a_user_without_permission_gets_a_hint_with_the_right_user(mode):
    with tempfile.TemporaryDirectory(dir="/tmp") as made:
        folder = Path(made)
        folder.chmod(0o755)
        with running(folder) as fleet:
            state_of(fleet).chmod(mode)
            for verb in ("status", "down", "up", "drain x", "logs"):
                result = subprocess.run(
                    [sys.executable, "-c", AS_NOBODY, *verb.split()],
                    cwd=folder,
                    capture_output=True,
                    text=True,
                    timeout=LIMIT_S,
                    check=False,
                )
                assert result.returncode in {1, 2}, result.stderr
                assert "ermission denied" in result.stderr
                assert "hint: run it as root" in result.stderr
            assert fleet.process.poll() is None
            assert run_cli(folder, "status").returncode == 0


def test_a_fleet_runs_in_a_folder_without_sockets(tmp_path):
    """As on some network file systems: the kernel refuses sockets outside of the temporary folder here."""
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    script = Path(__file__).parents[2] / "services" / "no_sockets.py"
    if subprocess.run([sys.executable, script, temporary, "true"], check=False).returncode == 77:
        pytest.skip("the kernel has no Landlock")
    prefix = (sys.executable, str(script), str(temporary))
    with running(tmp_path, env={"TMPDIR": str(temporary)}, prefix=prefix) as fleet:
        (folder,) = temporary.iterdir()
        assert folder.stat().st_mode & 0o777 == 0o700
        assert fleet.embedder.post("/embed", {"inputs": "a"}).status == 200
        shutil.rmtree(folder)
        until_whole(fleet)
        assert run_cli(tmp_path, "down").returncode == 0
    assert list(temporary.iterdir()) == []
    assert "no socket can be made in" in (tmp_path / "said").read_text()


def test_down_removes_the_temporary_folder_of_a_killed_fleet(tmp_path):
    temporary = tmp_path / "embedfleet-old"
    temporary.mkdir()
    (tmp_path / ".embedfleet").mkdir()
    left = {"pid": 4711, "socket": str(temporary / "fleet.sock"), "identity": "of a process that is gone"}
    (tmp_path / ".embedfleet" / "fleet.json").write_text(json.dumps(left))
    assert "no fleet runs" in run_cli(tmp_path, "down").stderr
    assert not temporary.exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_to_the_wait_for_a_detached_fleet_ends_the_fleet(tmp_path, number):
    (port,) = free_ports(1)
    (tmp_path / "fleet.toml").write_text(PLAN.format(port=port, url="http://127.0.0.1:9"))  # it never serves

    def hear() -> None:  # a shell ignores some of them in its background jobs
        for each in (signal.SIGINT, signal.SIGHUP):
            signal.signal(each, signal.SIG_DFL)

    with subprocess.Popen(
        [*COMMAND, "up", "--detach"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=hear,  # noqa: PLW1509 - there are no threads here
    ) as up:
        assert "bge-embedder-tei-0 is" in up.stderr.readline()
        pid = FleetLock(tmp_path / ".embedfleet").read().pid
        up.send_signal(number)
        assert "error: interrupted" in up.communicate(timeout=LIMIT_S)[1]
    assert up.returncode == 1
    assert not is_alive(pid)
    assert run_cli(tmp_path, "status").returncode == 3


def test_the_error_of_a_detached_fleet_is_printed_even_after_a_long_log(tmp_path):
    (tmp_path / ".embedfleet" / "logs").mkdir(parents=True)
    log = tmp_path / ".embedfleet" / "logs" / "up.log"
    log.write_text("of an earlier run\n" * 10_000)
    (tmp_path / "broken").mkdir()
    settings = ("--set", "embedder.model=broken", "--set", "reranker.enabled=false")
    result = run_cli(tmp_path, "up", "--detach", *settings, "--set", f"embedder.port={free_ports(1)[0]}")
    assert result.returncode == 2
    assert "config.json is missing" in result.stderr
    assert "hint: the folder must hold config.json" in result.stderr
    assert "earlier run" not in result.stderr


def test_as_many_lines_of_a_log_are_shown_as_are_asked_for(tmp_path):
    (tmp_path / ".embedfleet" / "logs").mkdir(parents=True)
    (tmp_path / ".embedfleet" / "logs" / "up.log").write_text("".join(f"{n}\n" for n in range(30_000)))
    counts = {n: len(run_cli(tmp_path, "logs", "-n", n).stdout.splitlines()) for n in ("0", "1", "100000")}
    assert counts == {"0": 0, "1": 1, "100000": 30_000}
    assert run_cli(tmp_path, "logs", "-n", "-1").returncode == 2


needs_mounts = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("unshare") is None or subprocess.call(["unshare", "-m", "true"]) != 0,
    reason="only root mounts a small disk",
)
SMALL = ("unshare", "-m", "sh", "-c", 'mount -t tmpfs -o size=200k small "$0" && exec "$@"')


@needs_mounts
@pytest.mark.parametrize("flags", [(), ("--detach",)])
def test_a_disk_that_is_full_from_the_start_is_named(tmp_path, flags):
    state = tmp_path / ".embedfleet"
    state.mkdir()
    fill = 'head -c 1000000 /dev/zero > .embedfleet/full 2> /dev/null; exec "$@"'
    command = [*SMALL, state, "sh", "-c", fill, "sh", *COMMAND, "up", *flags]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert result.returncode == 2
    assert result.stderr.startswith(f"error: {state} cannot be written: No space left on device (0.0 MB free)")
    assert "hint: make room there, or set state_dir" in result.stderr


def inside(fleet: Fleet, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a verb in the fleet's mount namespace."""
    command = ["nsenter", "-m", "-t", str(fleet.process.pid), "sh", "-c", 'cd "$0" && exec "$@"', str(fleet.folder)]
    return subprocess.run(
        [*command, *COMMAND, *arguments], capture_output=True, text=True, timeout=LIMIT_S, check=False
    )


@needs_mounts
def test_a_disk_that_fills_up_ends_no_process(tmp_path):
    state = tmp_path / ".embedfleet"
    state.mkdir()
    with running(tmp_path, prefix=(*SMALL, str(state)), verb=inside) as fleet:
        with Path(f"/proc/{fleet.process.pid}/root{state}/full").open("wb", buffering=0) as full, suppress(OSError):
            while True:
                full.write(b"x" * 4096)
        assert "a fleet runs already" in inside(fleet, "up").stderr
        gateway = json.loads(inside(fleet, "status", "--json").stdout)["services"][0]["gateway"]
        os.kill(gateway["pid"], signal.SIGKILL)
        while fleet.process.poll() is None:
            status = json.loads(inside(fleet, "status", "--json").stdout)
            (service,) = status["services"]
            if service["gateway"]["restarts"] == 1 and service["replicas"][0]["state"] == "active":
                break
        assert fleet.embedder.post("/embed", {"inputs": "a"}).status == 200
        assert inside(fleet, "down").returncode == 0
        assert fleet.process.wait(LIMIT_S) == 0
