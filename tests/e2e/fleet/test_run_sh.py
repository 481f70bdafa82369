"""run.sh installs what is needed, and then executes `up`; the lock is empty, and a stand-in replaces the package."""

import os
import subprocess
import sys

import pytest

from tests.services.clone import Clone

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


def test_compiled_modules_are_used_only_for_unchanged_source(clone):
    clone.run()
    compiled = clone.folder / ".compiled"
    (compiled / "embedfleet").mkdir(parents=True)
    (compiled / "embedfleet/__init__.py").touch()
    (compiled / "embedfleet/__main__.py").write_text("print('compiled')")
    told = subprocess.run([clone.folder / "scripts/sources"], capture_output=True, text=True, check=True)
    (compiled / "stamp").write_text(told.stdout)
    assert (clone.run().stdout, clone.run().stderr) == ("compiled\n", "")
    assert clone.command("status").stdout == "compiled\n"
    with (clone.folder / "src/embedfleet/__main__.py").open("a") as source:
        source.write("# changed\n")
    command, after = clone.command("status"), clone.run()
    assert clone.becomes(command, "status")
    assert clone.becomes(after, "up")
    assert "the source has changed since scripts/compile" in after.stderr
    assert compiled.exists(), "a running fleet may use it"


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
