"""Compiled code is made once for several starts, and half of it is never used; a stand-in compiles one small module."""

import json
import os
import signal
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.services.clone import LIMIT_S, Clone
from tests.services.compiled_wheel import add_sources, extension

pytestmark = pytest.mark.slow

# Stands in for scripts/compile.py: notes each run, waits for a line in a pipe, and puts a module in its place.
COMPILER = """
import shutil, sys
from pathlib import Path
root = Path(__file__).parent.parent
with open(root / "runs", "a") as file:
    file.write("compiled ")
shutil.copytree(root / "src", sys.argv[1])
with open(root / "pipe") as pipe:
    pipe.read()
shutil.copy(root / "metrics.so", Path(sys.argv[1], "embedfleet/metrics{suffix}"))
"""
STEP = ("-m", "scripts.compiled_code", "compile")


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    clone = Clone(tmp_path)
    add_sources(clone.folder / "src")
    extension(clone.folder)
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    (clone.folder / "scripts/compile.py").write_text(COMPILER.format(suffix=suffix))
    (clone.folder / ".venv-compile").mkdir()
    (clone.folder / ".venv-compile/stamp").write_text(f"python3.{sys.version_info.minor}{sys.abiflags}")
    os.mkfifo(clone.folder / "pipe")
    return clone


def begin(clone: Clone) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *STEP],
        cwd=clone.folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_of_two_that_start_at_once_one_compiles(clone: Clone):
    one = begin(clone)
    assert one.stdout is not None
    assert json.loads(one.stdout.readline()) == {"state": "compiling"}
    two = begin(clone)
    assert two.stderr is not None
    assert two.stderr.readline() == "another process compiles here: waiting for it\n"
    (clone.folder / "pipe").write_text("go on")
    said = [process.communicate(timeout=LIMIT_S)[0] for process in (one, two)]
    assert [json.loads(text) for text in said] == [
        {"state": "compiled", "folder": str(clone.folder / ".compiled-run-1")}
    ] * 2
    assert (clone.folder / "runs").read_text() == "compiled "
    assert not (clone.folder / ".venv-compile").exists()


def test_what_a_killed_compiler_has_made_is_removed_and_three_are_the_most(clone: Clone):
    for _ in range(3):
        killed = begin(clone)
        assert killed.stdout is not None
        killed.stdout.readline()
        with (clone.folder / "pipe").open("w"):  # it has made a part
            killed.send_signal(signal.SIGKILL)
            killed.communicate(timeout=LIMIT_S)
        assert len(list(clone.folder.glob(".compiled-new-*"))) == 1, "that of the one before is gone"
        assert not (clone.folder / ".compiled").exists()
    command = [*STEP[:2], "background", "--parent", str(os.getpid())]
    said = json.loads(clone.execute(sys.executable, *command).stdout)
    assert said["reason"] == "the compiler was killed, or the machine was stopped, three times"
    assert not list(clone.folder.glob(".compiled-new-*"))


def test_a_folder_that_a_process_uses_is_kept(clone: Clone):
    (clone.folder / "requirements-compile.lock").write_text("# nothing\n")
    first = begin(clone)
    (clone.folder / "pipe").write_text("go on")
    first.communicate(timeout=LIMIT_S)
    clone.run(NEEDS_COMPILER="0")
    serving = clone.begin("--serve")
    assert serving.stdout is not None
    assert [serving.stdout.readline() for _ in range(2)][1] == "serving\n"
    for number in (2, 3):
        (clone.folder / "src/embedfleet/metrics.py").write_text(f"VERSION = {number}\n")
        (clone.folder / ".venv-compile").mkdir(exist_ok=True)
        (clone.folder / ".venv-compile/stamp").write_text(f"python3.{sys.version_info.minor}{sys.abiflags}")
        again = begin(clone)
        (clone.folder / "pipe").write_text("go on")
        assert again.wait(LIMIT_S) == 0
        again.communicate()
    kept = sorted(path.name for path in clone.folder.glob(".compiled-run-*"))
    assert kept == [".compiled-run-1", ".compiled-run-2", ".compiled-run-3"]
    serving.communicate("end\n", timeout=LIMIT_S)
    (clone.folder / "src/embedfleet/metrics.py").write_text("VERSION = 4\n")
    (clone.folder / "requirements-compile.lock").unlink()
    clone.execute(sys.executable, *STEP[:2], "background", "--parent", str(os.getpid()))
    assert sorted(path.name for path in clone.folder.glob(".compiled-run-*")) == [".compiled-run-3"]
