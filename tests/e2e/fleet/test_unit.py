"""The systemd unit, as systemd itself reads it back."""

import ast
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.services.fleet import run_cli

pytestmark = pytest.mark.slow

SYSTEMD = Path("/lib/systemd/systemd")
LIMIT_S = 60
NOBODY = 65534
needs_systemd = pytest.mark.skipif(
    not SYSTEMD.exists() or shutil.which("systemd-analyze") is None, reason="systemd is not installed"
)
ODD = [
    "a b",
    "50%n",
    "$HOME ${x}",
    'it\'s "so"',
    "C:\\new\\x41",
    "one\ntwo\r\tthree",
    "é ☃ ",
    "- x",
    " ",
    "'",
    '"',
    "\\",
    "#;",
]


@pytest.fixture
def units() -> Iterator[Path]:
    """A folder that anybody may read, because systemd does not check units as root."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "default.target").write_text("[Unit]\nDescription=all\nWants=embedfleet.service\n")
        yield folder


def install(folder: Path, units: Path, *flags: str, env: dict[str, str] | None = None) -> str:
    done = run_cli(folder, "service", "install", "--unit-dir", str(units), *flags, env=env)
    assert done.returncode == 0, done.stderr
    return (units / "embedfleet.service").read_text()


def read_back(units: Path) -> str:
    """Return the unit's properties as systemd reads them."""
    done = subprocess.run(
        [SYSTEMD, "--test", "--system", "--log-target=console", "--no-pager"],
        env={"SYSTEMD_UNIT_PATH": str(units), "PATH": os.environ["PATH"]},
        capture_output=True,
        timeout=LIMIT_S,
        check=False,
        user=NOBODY if os.getuid() == 0 else None,
    )
    text = done.stdout.decode("utf-8", "replace")
    return text.partition("-> Unit embedfleet.service:")[2].partition("-> Unit ")[0]


def command_line(dump: str) -> list[str]:
    """Return the words of ExecStart, without systemd's C-style escapes and doubled dollars."""
    line = re.findall(r"-> ExecStart:\n\s*Command Line: (.*)", dump)[0]
    words = re.findall(r'"(?:[^"\\]|\\.)*"|\S+', line)
    return [ast.literal_eval(word.replace("\\$\\$", "$")) if word[0] == '"' else word for word in words]


@needs_systemd
@pytest.mark.parametrize("text", ODD)
def test_systemd_reads_any_variable_or_flag_unchanged(tmp_path, units, text):
    env = {"EMBEDFLEET_EMBEDDER_DEFAULT_PROMPT": text, "DOCKER_HOST": text}
    install(tmp_path, units, "--set", f"reranker.served_model_name={text}x", "--set=embedder.driver=process", env=env)
    dump = read_back(units)
    for name, value in env.items():
        assert f"\tEnvironment: {name}={value}\n" in dump
    assert command_line(dump)[-3:] == [
        *("up", f"--set=reranker.served_model_name={text}x", "--set=embedder.driver=process")
    ]
    checked = subprocess.run(
        ["systemd-analyze", "verify", units / "embedfleet.service"],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert (checked.returncode, "embedfleet.service" in checked.stderr) == (0, False), checked.stderr


@needs_systemd
@pytest.mark.parametrize("name", ["a fleet", "50%n", "$x", "é", "it's"])
def test_a_folder_of_any_name_is_the_units_working_directory(tmp_path, units, name):
    folder = tmp_path / name
    folder.mkdir()
    install(folder, units)
    dump = read_back(units)
    assert f"\tWorkingDirectory: {folder}\n" in dump
    assert f"\tRequiresMountsFor: {folder} (origin-file)\n" in dump


@pytest.mark.parametrize("name", ["a\nb", "a ", "a\\", "\x1b"])
def test_a_folder_that_a_unit_cannot_contain_is_refused(tmp_path, units, name):
    folder = tmp_path / name
    folder.mkdir()
    done = run_cli(folder, "service", "install", "--unit-dir", str(units))
    assert (done.returncode, "a systemd unit cannot contain the path" in done.stderr) == (2, True)
    assert not (units / "embedfleet.service").exists()


@pytest.mark.parametrize("way", ["flag", "variable"])
def test_a_relative_settings_file_becomes_absolute_in_the_unit(tmp_path, units, way):
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    (there / "own.toml").write_text("[services.embedder]\nport = 9001\n")
    flags = ("--config", "../there/own.toml") if way == "flag" else ()
    env = {"EMBEDFLEET_CONFIG": "../there/own.toml"} if way == "variable" else {"EMBEDFLEET_CONFIG": ""}
    text = install(here, units, *flags, env=env)
    named = re.findall(r'"--config=(.*?)"', text)
    assert [Path(file).resolve() for file in named] == [there / "own.toml"] * 2, "of ExecStart and of ExecReload"
    assert Path(named[0]).is_absolute()
    assert f"WorkingDirectory={there}\n" in text
    assert "EMBEDFLEET_CONFIG" not in text


def test_the_unit_restarts_after_an_error_at_boot(tmp_path, units):
    """Examples are a model on a late mount, or a port that is still taken."""
    text = install(tmp_path, units)
    assert "Restart=on-failure\n" in text
    assert "RestartPreventExitStatus" not in text
