"""A fleet starts, is found and can be stopped with any environment and any settings file."""

import json
import os
import socket
import subprocess

import pytest

from tests.services.fleet import COMMAND, LIMIT_S, flags, fleet, free_ports, run_cli
from tests.services.kubernetes import of_service

pytestmark = pytest.mark.slow

SMALL = ("--set", "reranker.enabled=false", "--set", "embedder.replicas=2")
OTHERS = (
    of_service("EMBEDFLEET") | of_service("EMBEDFLEET_EMBEDDER") | {"EMBEDFLEET_LOG_LEVEL": "", "EMBEDFLEET_X": "1"}
)


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fleet")
    (folder / "fleet.toml").write_text('[fleet]\nstate_dir = "here"\n')
    with fleet(folder, *SMALL, env=OTHERS) as running:
        yield running


@pytest.mark.parametrize(
    ("content", "env"),
    [
        ('[fleet]\nstate_dir = "here"\n', OTHERS),
        ('[fleet]\nstate_dir = "here"\n[services.embedder]\nport = \n', {}),
        ('[fleet]\nstate_dir = "here"\nlog_level = "loud"\n', {"EMBEDFLEET_EMBEDDER_PORT": "x"}),
        ('[fleet]\nstate_dir = "here"\n[services.bge-embedder]\nport = 8001\nmodel = "none"\n', {}),
    ],
)
def test_a_running_fleet_is_found_despite_changed_or_invalid_settings(running, content, env):
    (running.folder / "fleet.toml").write_text(content)
    status = run_cli(running.folder, "status", "--json", env=env)
    assert (status.returncode, json.loads(status.stdout)["running"]) == (0, True)
    logs = run_cli(running.folder, "logs", "embedder-0", env=env)
    assert (logs.returncode, "listening on" in logs.stdout) == (0, True)
    for verb in ("drain", "undrain"):
        told = run_cli(running.folder, verb, "embedder-0", env=env)
        assert (told.returncode, "Traceback" in told.stderr) == (0, False), told.stderr


def test_ignored_settings_are_reported_once_and_up_refuses_them(running):
    (running.folder / "fleet.toml").write_text('[fleet]\nstate_dir = "here"\nlog_level = "loud"\nnew = 1\n')
    status = run_cli(running.folder, "status")
    assert "warning: ignored in the settings: fleet.log_level: 'loud' is not" in status.stderr
    assert "and 1 more (`embedfleet config check`)" in status.stderr
    up = run_cli(running.folder, "up")
    assert (up.returncode, "2 faults in the settings" in up.stderr) == (2, True)


def test_down_works_with_invalid_settings(tmp_path):
    with fleet(tmp_path, *SMALL) as running:
        (tmp_path / "fleet.toml").write_text("[services\n")
        down = run_cli(tmp_path, "down", env={"EMBEDFLEET_RERANKER_PORT": "x"})
        assert (down.returncode, "stopped" in down.stderr) == (0, True)
        assert running.process.wait(LIMIT_S) == 0


@pytest.mark.parametrize("given", [["-dd"], ["-d", "--detach"], ["-d", "--detach", "-ddd"], ["-d", "--"]])
def test_repeated_detach_flags_start_one_fleet(tmp_path, given):
    """The fleet ends at once because its port is taken, which shows that no fleet starts another in turn."""
    with socket.create_server(("0.0.0.0", 0)) as taken:
        port = f"embedder.port={taken.getsockname()[1]}"
        up = run_cli(tmp_path, "up", "--set", port, "--set", "reranker.enabled=false", *given)
    assert (up.returncode, "is taken" in up.stderr or "in use" in up.stderr) == (2, True), up.stderr
    assert up.stderr.count("error: ") == 1


def test_a_detached_fleet_gets_all_flags(tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "own.toml").write_text('[services.embedder]\nserved_model_name = "- mine"\n')
    ports = free_ports(2)
    given = ["--config", "elsewhere/own.toml", *flags(ports), *SMALL, "--log-format=json", "--stop-grace-s", "2"]
    up = run_cli(tmp_path, "up", "-d", *given)
    try:
        assert up.returncode == 0, up.stderr
        assert up.stdout.startswith(f"embedder: http://127.0.0.1:{ports[0]}\n")
        log = (elsewhere / ".embedfleet/logs/embedder-gateway.log").read_text().splitlines()
        assert all(json.loads(line) for line in log)
        shown = subprocess.run(
            ["curl", "-s", f"http://127.0.0.1:{ports[0]}/info"], capture_output=True, text=True, timeout=60, check=True
        )
        assert "- mine" in shown.stdout
    finally:
        down = run_cli(tmp_path, "down", "--config", "elsewhere/own.toml")
    assert (down.returncode, "stopped" in down.stderr) == (0, True)


def test_folders_and_files_that_cannot_be_written_are_named(tmp_path):
    (tmp_path / "file").touch()
    servers = ("--set", "embedder.replicas=http://h:1", "--set", "reranker.enabled=false")
    (tmp_path / "full/nginx-embedder.conf").mkdir(parents=True)
    for out in ("file", "file/below", "/proc/none", "full", "x" * 300):
        result = run_cli(tmp_path, "render", "nginx", *servers, "--out", out)
        assert (result.returncode, result.stdout) == (2, "")
        assert "cannot be written: " in result.stderr
        assert "hint: give another --out" in result.stderr
    for folder in ("file", "/proc/none", "x" * 300):
        for verb in ("install", "uninstall"):
            result = run_cli(tmp_path, "service", verb, "--unit-dir", folder)
            assert (result.returncode, "Traceback" in result.stderr) == (2 if verb == "install" else 0, False)


def test_a_working_directory_that_is_gone_is_named(tmp_path):
    code = 'mkdir gone; cd gone; rmdir ../gone; exec "$@"'
    result = subprocess.run(
        ["sh", "-c", code, "sh", COMMAND[0], "-P", "-m", "embedfleet", "status"],
        cwd=tmp_path,
        env=os.environ,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert result.returncode == 2
    assert "the working directory: does not exist any more" in result.stderr
