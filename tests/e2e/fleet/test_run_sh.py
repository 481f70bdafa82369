"""run.sh installs what is needed, and then executes `up`; the lock is empty, and a stand-in replaces the package."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.services.clone import Clone
from tests.services.compiled_wheel import add_sources, extension, make_wheel

pytestmark = pytest.mark.slow

WITHOUT_VENV = """#!/bin/sh
if [ "$2" = venv ]; then
    mkdir -p "$3/bin"
    touch "$3/bin/left-over"
    exit 1
fi
exec {python} "$@"
"""


@pytest.fixture
def clone(tmp_path):
    return Clone(tmp_path)


def test_it_installs_once_and_becomes_up_with_its_flags(clone):
    first = clone.run("--detach", "--set", "embedder.port=9001", PYTHON=sys.executable, PYTHONPATH="")
    assert clone.becomes(first, "up", "--detach", "--set", "embedder.port=9001"), first.stderr
    assert "installing into .venv" in first.stderr
    again = clone.run("H100", "--detach", PYTHON="/no/python/is/needed")
    assert clone.becomes(again, "up", "--gpu", "H100", "--detach")
    assert again.stderr == ""
    command = clone.command("status")
    assert clone.becomes(command, "status"), f"the environment has the command {command.stderr}"


@pytest.mark.parametrize(("needs", "wanted"), [("10", True), ("0", False), ("2", False)])
def test_packages_for_containers_are_installed_if_the_settings_need_them(clone, needs, wanted):
    (clone.folder / "requirements-docker.lock").write_text("# nothing\n")
    first, again = clone.run("--log-level", "debug", NEEDS=needs), clone.run(NEEDS=needs)
    assert ("installing the packages for containers" in first.stderr) is wanted
    assert "installing" not in again.stderr
    assert clone.becomes(first, "up", "--log-level", "debug")
    assert (clone.venv / "stamp-docker").exists() is wanted
    clone.change_lock()
    assert clone.run(NEEDS="0").returncode == 0
    assert (clone.venv / "stamp-docker").exists() is wanted, "a later environment has them as well"


def test_an_incomplete_or_outdated_environment_is_replaced(clone):
    without = clone.folder / "python-without-venv"
    without.write_text(WITHOUT_VENV.format(python=sys.executable))
    without.chmod(0o755)
    failed = clone.run(PYTHON=str(without))
    assert (failed.returncode, failed.stdout) == (2, "")
    assert "hint: on Debian or Ubuntu: apt-get install python3-venv" in failed.stderr
    assert clone.becomes(clone.run(), "up")
    assert not (clone.venv / "bin/left-over").exists()
    (clone.folder / "requirements.lock").write_text("# nothing, again\n")
    assert "installing" in clone.run().stderr


def make_compiled(clone: Clone) -> Path:
    """Make a folder that fits the clone, with a program that says that it is compiled."""
    compiled = clone.folder / ".compiled"
    (compiled / "embedfleet").mkdir(parents=True)
    (compiled / "embedfleet/__init__.py").touch()
    (compiled / "embedfleet/__main__.py").write_text("print('compiled')")
    told = subprocess.run([clone.folder / "scripts/sources"], capture_output=True, text=True, check=True)
    (compiled / "stamp").write_text(f"{told.stdout.strip()} python3.{sys.version_info.minor}{sys.abiflags}")
    return compiled


def test_compiled_modules_are_used_only_for_unchanged_source(clone):
    clone.run()
    compiled = make_compiled(clone)
    assert (clone.run().stdout, clone.run().stderr) == ("compiled\n", "")
    assert clone.command("status").stdout == "compiled\n"
    with (clone.folder / "src/embedfleet/__main__.py").open("a") as source:
        source.write("# changed\n")
    command, after = clone.command("status"), clone.run()
    assert clone.becomes(command, "status")
    assert clone.becomes(after, "up")
    assert compiled.exists(), "a running fleet may use it"


def test_compiled_modules_of_another_python_are_not_used(clone):
    clone.run()
    stamp = make_compiled(clone) / "stamp"
    stamp.write_text(stamp.read_text().replace("python3.", "python2."))
    assert clone.becomes(clone.run(), "up")


@pytest.mark.parametrize(("needs", "fetched"), [("10", True), ("0", False), ("2", False)])
def test_the_compiler_is_fetched_if_a_gateway_is_to_be_compiled(clone, needs, fetched):
    (clone.folder / "requirements-compile.lock").write_text("# nothing\n")
    first, again = clone.run(NEEDS_COMPILER=needs), clone.run(NEEDS_COMPILER=needs)
    assert ("fetching the compiler" in first.stderr) is fetched
    assert clone.becomes(first, "up")
    assert again.stderr == ""
    assert (clone.folder / ".venv-compile/stamp").exists() is fetched


def test_a_compiler_that_cannot_be_had_is_said_once(clone):
    (clone.folder / "requirements-compile.lock").write_text(f"./thing-1-py3-none-any.whl --hash=sha256:{'0' * 64}\n")
    first, again = clone.run(), clone.run()
    assert "gateways run interpreted and take more CPU time; scripts/compile tries again" in first.stderr
    assert clone.becomes(first, "up"), "it serves nevertheless"
    assert (clone.becomes(again, "up"), again.stderr) == (True, "")
    assert not (clone.folder / ".venv-compile").exists()
    with (clone.folder / "src/embedfleet/__main__.py").open("a") as source:
        source.write("# an update\n")
    assert "fetching the compiler" in clone.run().stderr, "an update tries again"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a folder read-only")
def test_a_clone_that_cannot_be_written_starts_and_says_why_it_is_not_compiled(clone):
    (clone.folder / "requirements-compile.lock").write_text("# nothing\n")
    clone.run(NEEDS_COMPILER="0")
    mount = 'mount --bind . . && mount -o remount,bind,ro . && cd "$PWD" && exec "$@"'
    start = ["unshare", "--mount", "sh", "-c", mount, "sh"]
    started = clone.execute(*start, "./run.sh")
    assert (clone.becomes(started, "up"), started.stderr) == (True, "")
    job = [str(clone.venv / "bin/python"), "-m", "scripts.compiled_code", "background", "--parent", str(os.getpid())]
    said = json.loads(clone.execute(*start, *job).stdout)
    assert said["state"] == "interpreted"
    assert said["reason"] == f"{clone.folder} cannot be written: Read-only file system"


def test_a_compiled_wheel_beside_the_clone_is_used_at_once(clone):
    add_sources(clone.folder / "src")
    wheel = make_wheel(clone.folder.parent, clone.folder / "src", extension(clone.folder.parent))
    first, again = clone.run(), clone.run()
    assert f"using the compiled code of {wheel}" in first.stderr
    assert (clone.becomes(first, "up"), clone.becomes(again, "up"), again.stderr) == (True, True, "")
    assert (clone.folder / ".compiled").readlink() == Path(".compiled-run-1")
    (clone.folder / "src/embedfleet/metrics.py").write_text("VERSION = 2\n")
    changed = clone.run()
    assert "it was made of another source (for example embedfleet/metrics.py)" in changed.stderr
    assert clone.becomes(changed, "up")


def test_a_wheel_whose_modules_cannot_be_imported_is_not_used(clone):
    add_sources(clone.folder / "src")
    make_wheel(clone.folder, clone.folder / "src", b"not a library")
    run = clone.run()
    assert "the compiled modules cannot be imported: ImportError" in run.stderr
    assert clone.becomes(run, "up")
    assert not list(clone.folder.glob(".compiled*n*"))


def test_missing_requirements_of_compiling_are_named(clone):
    command, env = clone.folder / "scripts/compile", os.environ | {"CC": "/no/such/compiler"}
    first = subprocess.run([command], env=env, capture_output=True, text=True, check=False)
    assert first.returncode == 2
    assert "hint: start ./run.sh once" in first.stderr
    clone.run()
    without = subprocess.run([command], env=env, capture_output=True, text=True, check=False)
    assert without.returncode == 2
    assert "there is no C compiler: /no/such/compiler" in without.stderr
    assert "apt-get install gcc" in without.stderr
    assert not (clone.folder / ".compiled").exists()


@pytest.mark.parametrize("python", ["/no/such/python", "/bin/false"])
def test_a_missing_or_old_python_is_named_with_the_packages_to_install(clone, python):
    result = clone.run(PYTHON=python)
    assert (result.returncode, result.stdout) == (2, "")
    assert f"error: {python} is missing or older than 3.11" in result.stderr
    assert "apt-get install python3 python3-venv" in result.stderr


def test_a_venv_that_run_sh_did_not_make_is_left_alone(clone):
    (clone.venv / "precious").mkdir(parents=True)
    result = clone.run()
    assert (result.returncode, "was not made by run.sh" in result.stderr) == (2, True)
    assert (clone.venv / "precious").is_dir()


def test_a_package_that_is_not_the_one_that_was_pinned_is_not_installed(clone):
    (clone.folder / "thing-1-py3-none-any.whl").write_bytes(b"changed on its way")
    (clone.folder / "requirements.lock").write_text(f"./thing-1-py3-none-any.whl --hash=sha256:{'0' * 64}\n")
    result = clone.run()
    assert (result.returncode, result.stdout) == (2, "")
    assert "the packages of requirements.lock could not be installed" in result.stderr
    assert "DO NOT MATCH" in result.stderr
    assert not (clone.venv / "stamp").exists()
