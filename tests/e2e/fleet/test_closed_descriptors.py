"""Every verb works without stdin, stdout or stderr, because some parent processes close them."""

import asyncio
import json
import signal
import subprocess
from itertools import combinations
from pathlib import Path

import pytest

from embedfleet.http.client import fetch
from tests.services.fleet import COMMAND, LIMIT_S, flags, free_ports, run_cli
from tests.services.verb import verb

pytestmark = pytest.mark.slow

CLOSED = [closed for count in (1, 2, 3) for closed in combinations(range(3), count)]
SMALL = ("--set", "reranker.enabled=false", "--set", "embedder.replicas=1")


def without(closed: tuple[int, ...], *arguments: str) -> list[str]:
    """Make the command line that starts a verb without these descriptors."""
    closing = " ".join(f"{descriptor}>&-" for descriptor in closed)
    return ["sh", "-c", f'exec "$@" {closing}', "sh", *COMMAND, *arguments]


def opened_as(pid: int, descriptor: int) -> str:
    """Target of a process's file descriptor."""
    return str(Path(f"/proc/{pid}/fd/{descriptor}").readlink())


@pytest.mark.parametrize("closed", CLOSED)
@pytest.mark.parametrize("name", ["gateway", "engine"])
def test_gateway_and_engine_answer_and_end(name, closed):
    with verb(name, closed=closed) as started:
        answer = asyncio.run(fetch(f"http://127.0.0.1:{started.port}/livez", timeout_s=LIMIT_S))
        assert answer.status in {200, 404}, "the engine has no such route, and says so"
        opened = {number: opened_as(started.process.pid, number) for number in closed}
        assert opened == dict.fromkeys(closed, "/dev/null")
        assert asyncio.run(started.end()) == 0


@pytest.mark.parametrize("closed", CLOSED)
def test_a_fleet_serves_and_ends(closed, tmp_path):
    ports = free_ports(2)
    process = subprocess.Popen(
        without(closed, "up", *SMALL, *flags(ports)),
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while not (status := json.loads(run_cli(tmp_path, "status", "--json").stdout)).get("ready"):
            assert process.poll() is None, "it ended"
        for row in (status["services"][0]["gateway"], *status["services"][0]["replicas"]):
            opened = [opened_as(row["pid"], number) for number in range(3)]
            assert opened == ["/dev/null", *[str(tmp_path / f".embedfleet/logs/{row['id']}.log")] * 2]
        process.send_signal(signal.SIGTERM)
        assert process.wait(LIMIT_S) == 0
    finally:
        process.kill()
        process.wait(LIMIT_S)


@pytest.mark.parametrize("closed", CLOSED)
@pytest.mark.parametrize(("arguments", "code"), [(("status", "--json"), 3), (("nope",), 2)])
def test_other_verbs_print_to_the_open_streams_and_keep_their_exit_code(arguments, code, closed, tmp_path):
    done = subprocess.run(
        without(closed, *arguments), cwd=tmp_path, capture_output=True, text=True, timeout=LIMIT_S, check=False
    )
    assert done.returncode == code
    assert (done.stdout != "") is (arguments[0] == "status" and 1 not in closed)
    assert (done.stderr != "") is (2 not in closed)
    assert "Traceback" not in done.stderr


def test_up_detaches_without_any_stream(tmp_path):
    ports = free_ports(2)
    done = subprocess.run(
        without((0, 1, 2), "up", "--detach", *SMALL, *flags(ports)), cwd=tmp_path, timeout=LIMIT_S, check=False
    )
    status = run_cli(tmp_path, "status")
    down = run_cli(tmp_path, "down")
    assert (done.returncode, status.returncode, down.returncode) == (0, 0, 0)
