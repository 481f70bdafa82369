"""run.sh never loses a working environment, keeps those in use, and leaves nothing behind."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.services.clone import LIMIT_S, Clone
from tests.services.fleet import free_ports

pytestmark = pytest.mark.slow

# Waits in the middle of an installation until a test writes to a pipe.
HELD_UP = """#!/bin/sh
"{quick}" "$@" || exit
[ "$2" != venv ] || read -r word < "{pipe}"
"""
# Makes an environment as the previous version did.
EARLIER = """set -eu
"{python}" -m venv --without-pip .venv
: > .venv/made-by-run.sh
site="$(.venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"
printf '%s\\n%s\\n' "$PWD/.compiled" "$PWD/src" > "$site/embedfleet-source.pth"
printf '#!/bin/sh\\nexec "%s" -P -m embedfleet "$@"\\n' "$PWD/.venv/bin/python" > .venv/bin/embedfleet
chmod +x .venv/bin/embedfleet
printf '%s' "$(cksum < requirements.lock) $PWD" > .venv/stamp
"""


@pytest.fixture
def clone(tmp_path):
    return Clone(tmp_path)


@pytest.fixture
def pipe(clone):
    """A pipe on which an installation waits."""
    made = clone.folder / "pipe"
    os.mkfifo(made)
    return made


def held_up(clone: Clone, pipe: Path) -> str:
    """An interpreter whose installations wait."""
    python = clone.folder / "held-up-python"
    python.write_text(HELD_UP.format(quick=clone.python, pipe=pipe))
    python.chmod(0o755)
    return str(python)


@pytest.mark.parametrize("way", ["folder", "file"])
def test_a_link_to_the_clone_uses_the_same_environment(clone, tmp_path, way):
    clone.run()
    link = tmp_path / "link"
    link.symlink_to(clone.folder if way == "folder" else clone.folder / "run.sh")
    again = clone.run(by=link / "run.sh" if way == "folder" else link, PYTHON="/no/python/is/needed")
    assert (clone.becomes(again, "up"), again.stderr) == (True, "")


def test_a_failed_installation_leaves_only_the_working_environment(clone):
    clone.run()
    clone.need_what_cannot_be_had()
    for _ in range(2):
        failed = clone.run()
        assert (failed.returncode, failed.stdout) == (2, "")
        assert "what was installed before still works" in failed.stderr
        assert clone.becomes(clone.command("status"), "status")
        assert clone.environments == [clone.in_force, ".venv-run-2"], "a half-made environment is made again"
    clone.change_lock()
    assert clone.becomes(clone.run(), "up")
    assert clone.becomes(clone.run(), "up")
    assert clone.environments == [clone.in_force]


@pytest.mark.parametrize("first", [True, False])
def test_a_killed_installation_leaves_only_the_working_environment(clone, pipe, first):
    if not first:
        clone.run()
        clone.change_lock()
    killed = clone.begin(PYTHON=held_up(clone, pipe))
    with pipe.open("w"):  # the installation is under way
        os.killpg(killed.pid, signal.SIGKILL)
        killed.communicate(timeout=LIMIT_S)
    if not first:
        assert clone.becomes(clone.command("status"), "status")
    assert clone.becomes(clone.run(), "up")
    assert clone.becomes(clone.run(), "up")
    assert clone.environments == [clone.in_force]


def test_two_simultaneous_starts_make_one_installation(clone, pipe):
    python = held_up(clone, pipe)
    one = clone.begin(PYTHON=python)
    with pipe.open("w") as release:
        two = clone.begin(PYTHON=python)
        assert two.stderr is not None
        assert two.stderr.readline() == "another run.sh installs here: waiting for it\n"
        release.write("go on\n")
    said = [process.communicate(timeout=LIMIT_S) for process in (one, two)]
    assert [process.returncode for process in (one, two)] == [0, 0], said
    assert [out for out, _ in said] == [f"['up'] {clone.venv.resolve()}\n"] * 2
    assert clone.environments == [".venv-run-1"]


def test_an_environment_in_use_is_kept_until_its_process_ends(clone):
    clone.run()
    running = clone.begin("--serve")
    assert running.stdout is not None
    assert [running.stdout.readline() for _ in range(2)][1] == "serving\n"
    clone.change_lock()
    for _ in range(2):
        assert clone.run().returncode == 0
        assert clone.environments == [".venv-run-1", ".venv-run-2"]
    assert clone.in_force == ".venv-run-2"
    out, _ = running.communicate("start a child\n", timeout=LIMIT_S)
    assert out == f"['again'] {clone.folder}/.venv-run-1\n", "its child runs in the same environment"
    clone.run()
    assert clone.environments == [".venv-run-2"]


@pytest.mark.parametrize("lost", ["link", "link to nowhere", "link to elsewhere"])
def test_a_lost_link_is_restored_without_an_installation(clone, lost):
    clone.run()
    clone.venv.unlink()
    if lost != "link":
        clone.venv.symlink_to("nowhere")
    if lost == "link to elsewhere":
        (clone.folder / "nowhere").mkdir()
        refused = clone.run()
        assert (refused.returncode, "was not made by run.sh" in refused.stderr) == (2, True)
        return
    again = clone.run()
    assert (clone.becomes(again, "up"), "installing" in again.stderr) == (True, False)


@pytest.mark.parametrize("change", ["upgraded", "removed"])
def test_an_environment_whose_python_was_replaced_is_installed_again(clone, change):
    clone.run()
    python = clone.venv / "bin/python"
    python.unlink()
    if change == "upgraded":
        python.write_text(f'#!/bin/sh\n[ "$1" = -ISc ] && echo python3.99 || exec "{sys.executable}" "$@"\n')
        python.chmod(0o755)
    told = clone.command("status")
    assert (told.returncode, "hint: start ./run.sh" in told.stderr) == (2, True)
    again = clone.run()
    assert clone.becomes(again, "up"), again.stderr
    assert clone.in_force == ".venv-run-2"


def test_a_clone_that_was_moved_is_installed_again(clone, tmp_path):
    clone.run()
    clone.folder = clone.folder.rename(tmp_path / "moved")
    clone.venv = clone.folder / ".venv"
    told = clone.command("status")
    assert (told.returncode, f"hint: start ./run.sh in {clone.folder} once" in told.stderr) == (2, True)
    assert clone.becomes(clone.run(), "up")


def test_an_environment_of_the_previous_version_is_adopted_without_a_network(clone):
    make_earlier(clone)
    clone.need_what_cannot_be_had()
    (clone.folder / "requirements.lock").write_text("# nothing\n")
    run = clone.run()
    assert (clone.becomes(run, "up"), "installing" in run.stderr) == (True, False), run.stderr
    assert clone.becomes(clone.command("status"), "status")
    assert clone.in_force == ".venv-run-1"


def test_an_environment_of_the_previous_version_works_if_no_new_one_can_be_made(clone):
    make_earlier(clone)
    clone.need_what_cannot_be_had()
    assert clone.run().returncode == 2
    assert clone.becomes(clone.command("status"), "status")


def test_an_incomplete_environment_of_the_previous_version_is_replaced(clone):
    clone.venv.mkdir()
    (clone.venv / "made-by-run.sh").touch()
    assert clone.becomes(clone.run(), "up")
    assert clone.becomes(clone.run(), "up")
    assert clone.environments == [clone.in_force]


def make_earlier(clone: Clone) -> None:
    subprocess.run(["sh", "-c", EARLIER.format(python=sys.executable)], cwd=clone.folder, timeout=LIMIT_S, check=True)
    shown = clone.command("status")
    assert shown.stdout == f"['status'] {clone.venv}\n"


def test_a_changed_lock_is_installed_beside_the_former_one(clone):
    for number in (1, 2):
        wheel = clone.folder / f"thing-{number}-py3-none-any.whl"
        with zipfile.ZipFile(wheel, "w") as archive:
            archive.writestr("thing.py", f"NUMBER = {number}\n")
            about = f"thing-{number}.dist-info"
            archive.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: thing\nVersion: {number}\n")
            archive.writestr(
                f"{about}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
            )
            archive.writestr(f"{about}/RECORD", "")
        digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
        clone.change_lock(f"./{wheel.name} --hash=sha256:{digest}\n")
        assert clone.run().returncode == 0
    code = "import thing; print(thing.NUMBER)"
    for number in (1, 2):
        python = clone.folder / f".venv-run-{number}/bin/python"
        said = subprocess.run([python, "-c", code], capture_output=True, text=True, timeout=LIMIT_S, check=True)
        assert said.stdout == f"{number}\n"


def test_a_fleet_keeps_running_while_run_sh_fails_or_installs(clone):
    """With the real package in the tests' environment: its engines restart in the environment that they have."""
    shutil.rmtree(clone.folder / "src")
    (clone.folder / "src").symlink_to(Path(__file__).parent.parent.parent.parent / "src")
    packages = os.pathsep.join(path for path in sys.path if path.endswith("site-packages"))
    port = free_ports(1)[0]
    settings = ["--set", f"embedder.port={port}", "--set", "reranker.enabled=false"]
    settings += ["--set", "embedder.replicas=1", "--restart-backoff-s", "0"]
    running = clone.begin(*settings, PYTHONPATH=packages)
    try:
        assert running.stdout is not None
        assert running.stdout.readline().startswith("embedder: "), running.communicate(timeout=LIMIT_S)[1]
        unit = clone.run_command(clone.folder, "service", "install", "--dry-run", PYTHONPATH=packages).stdout
        assert f'\nExecStart="{clone.folder}/.venv/bin/embedfleet" up\n' in unit, (
            "the command of whichever environment is in force"
        )
        assert f'\nExecReload="{clone.folder}/.venv/bin/embedfleet" reload\n' in unit
        clone.need_what_cannot_be_had()
        assert clone.run(PYTHONPATH=packages).returncode == 2
        assert status(clone, packages)["restarts"] == 0
        clone.change_lock()
        assert "a fleet runs already" in clone.run(*settings, PYTHONPATH=packages).stderr
        assert clone.in_force == ".venv-run-2"
        os.kill(status(clone, packages)["pid"], signal.SIGKILL)
        while (row := status(clone, packages))["state"] != "active" or row["restarts"] != 1:
            assert running.poll() is None
        command = Path(f"/proc/{row['pid']}/cmdline").read_text().split("\0")
        assert command[0] == f"{clone.folder}/.venv-run-1/bin/python"
    finally:
        running.send_signal(signal.SIGTERM)
        running.communicate(timeout=LIMIT_S)
    assert running.returncode == 0
    clone.run("--help", PYTHONPATH=packages)
    assert clone.environments == [".venv-run-2"]


def status(clone: Clone, packages: str) -> dict:
    """The row of the only replica."""
    shown = clone.run_command(clone.folder, "status", "--json", PYTHONPATH=packages)
    return json.loads(shown.stdout)["services"][0]["replicas"][0]
