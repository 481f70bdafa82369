"""run.sh, with an empty lock and a stand-in for the package: what it installs, when, and what it then becomes."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent.parent.parent
LIMIT_S = 120
WITHOUT_VENV = """#!/bin/sh
if [ "$2" = venv ]; then
    mkdir -p "$3/bin"
    touch "$3/bin/left-over"
    exit 1
fi
exec {python} "$@"
"""


class Clone:
    """A folder with a blank in its name that holds what run.sh needs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "a clone"
        (self.folder / "src" / "embedfleet").mkdir(parents=True)
        shutil.copy(ROOT / "run.sh", self.folder)
        (self.folder / "scripts").mkdir()
        for name in ("sources", "compile"):
            shutil.copy(ROOT / "scripts" / name, self.folder / "scripts")
        (self.folder / "requirements.lock").write_text("# nothing\n")
        (self.folder / "src/embedfleet/__init__.py").touch()
        (self.folder / "src/embedfleet/__main__.py").write_text("import sys\nprint(sys.argv[1:], sys.prefix)\n")
        self.venv = self.folder / ".venv"

    def run(self, *arguments: str, python: str = sys.executable) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["./run.sh", *arguments],
            cwd=self.folder,
            env=os.environ | {"PYTHON": python, "PIP_NO_INDEX": "1"},
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )

    def becomes(self, result: subprocess.CompletedProcess[str], *arguments: str) -> bool:
        return result.stdout == f"{list(arguments)} {self.venv}\n"


@pytest.fixture
def clone(tmp_path):
    return Clone(tmp_path)


def test_it_installs_once_and_becomes_up_with_its_flags(clone):
    first = clone.run("--detach", "--set", "embedder.port=9001")
    assert clone.becomes(first, "up", "--detach", "--set", "embedder.port=9001"), first.stderr
    assert "installing into .venv" in first.stderr
    again = clone.run("H100", "--detach", python="/no/python/is/needed")
    assert clone.becomes(again, "up", "--gpu", "H100", "--detach")
    assert again.stderr == ""
    command = subprocess.run([clone.venv / "bin/embedfleet", "status"], capture_output=True, text=True, check=True)
    assert clone.becomes(command, "status"), "the venv has the command"


@pytest.mark.parametrize(
    ("arguments", "settings", "wanted"),
    [
        (["H100"], "", True),
        (["cpu"], "", False),
        ([], "", False),
        (["--set", "embedder.driver=docker"], "", True),
        ([], '[services.embedder]\ndriver = "docker"\n', True),
    ],
)
def test_what_drives_containers_is_installed_where_there_may_be_some(clone, arguments, settings, wanted):
    (clone.folder / "requirements-docker.lock").write_text("# nothing\n")
    (clone.folder / "fleet.toml").write_text(settings)
    first, again = clone.run(*arguments), clone.run(*arguments)
    assert ("installing what drives containers" in first.stderr) is wanted
    assert "installing" not in again.stderr
    assert (first.returncode, again.returncode) == (0, 0)


def test_what_was_left_half_done_and_what_is_of_another_lock_is_made_anew(clone):
    without = clone.folder / "python-without-venv"
    without.write_text(WITHOUT_VENV.format(python=sys.executable))
    without.chmod(0o755)
    failed = clone.run(python=str(without))
    assert (failed.returncode, failed.stdout) == (2, "")
    assert "hint: on Debian or Ubuntu: apt-get install python3-venv" in failed.stderr
    assert clone.becomes(clone.run(), "up")
    assert not (clone.venv / "bin/left-over").exists()
    (clone.folder / "requirements.lock").write_text("# nothing, again\n")
    assert "installing" in clone.run().stderr


def test_what_was_compiled_of_this_source_is_run_and_of_another_is_not(clone):
    clone.run()
    compiled = clone.folder / ".compiled"
    (compiled / "embedfleet").mkdir(parents=True)
    (compiled / "embedfleet/__init__.py").touch()
    (compiled / "embedfleet/__main__.py").write_text("print('compiled')")
    told = subprocess.run([clone.folder / "scripts/sources"], capture_output=True, text=True, check=True)
    (compiled / "stamp").write_text(told.stdout)
    assert (clone.run().stdout, clone.run().stderr) == ("compiled\n", "")
    with (clone.folder / "src/embedfleet/__main__.py").open("a") as source:
        source.write("# changed\n")
    after = clone.run()
    assert clone.becomes(after, "up")
    assert "the source has changed since scripts/compile" in after.stderr
    assert not compiled.exists()


def test_what_compiling_needs_is_named(clone):
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
    result = clone.run(python=python)
    assert (result.returncode, result.stdout) == (2, "")
    assert f"error: {python} is missing or older than 3.11" in result.stderr
    assert "apt-get install python3 python3-venv" in result.stderr


def test_a_venv_of_somebody_elses_is_left_alone(clone):
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
