"""A service's port stays open whatever happens to its gateway, and clients do not notice its successor."""

import json
import os
import shutil
import signal
import socket
from collections.abc import Iterator
from http.client import HTTPConnection, RemoteDisconnected
from pathlib import Path

import orjson
import pytest

import embedfleet
from tests.e2e.fleet.test_remote import serving
from tests.services.fleet import LIMIT_S, Fleet, run_cli
from tests.services.traffic import traffic

pytestmark = pytest.mark.slow

BODY = orjson.dumps({"inputs": "text"})
RAW = b"POST /embed HTTP/1.1\r\nhost: h\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (
    len(BODY),
    BODY,
)


def gateway(running: Fleet) -> int:
    """Return the process id of the gateway, once there is one."""
    while not (pid := running.status["services"][0]["gateway"]["pid"]):
        assert running.process.poll() is None
    return pid


def connected(running: Fleet) -> socket.socket:
    return socket.create_connection(("127.0.0.1", running.embedder.port), LIMIT_S)


def answer(client: socket.socket) -> bytes:
    """Read the head of an answer."""
    data = b""
    while b"\r\n\r\n" not in data:
        part = client.recv(65_536)
        assert part, f"closed after {data!r}"
        data += part
    return data.partition(b"\r\n\r\n")[0]


def reload(running: Fleet) -> None:
    result = run_cli(running.folder, "reload")
    assert result.returncode == 0, result.stderr


@pytest.fixture(scope="module")
def running(tmp_path_factory) -> Iterator[Fleet]:
    with serving(tmp_path_factory.mktemp("port"), "gateway") as (made, _):
        yield made


def test_a_client_that_has_connected_to_a_gateway_that_dies_is_served_by_the_next(running):
    pid = gateway(running)
    os.kill(pid, signal.SIGSTOP)  # so that it accepts neither connection
    with connected(running) as silent, connected(running) as asks:
        asks.sendall(RAW)
        os.kill(pid, signal.SIGKILL)
        assert answer(asks).startswith(b"HTTP/1.1 200 ")
        silent.sendall(RAW)
        assert answer(silent).startswith(b"HTTP/1.1 200 ")
    assert gateway(running) != pid


def test_readiness_is_not_lost_while_a_killed_gateway_is_started_again(running):
    """A new gateway accepts once a replica has inferred: a balancer in front waits instead of removing it."""
    os.kill(gateway(running), signal.SIGKILL)
    answer = running.embedder.get("/readyz")
    assert (answer.status, answer.body) == (200, b"")


def test_a_killed_gateway_loses_only_its_requests_under_way(running):
    """Four clients keep their connections, so at most eight requests are lost and none refused."""
    with traffic(
        running.embedder.port, failures=(ConnectionResetError, BrokenPipeError, RemoteDisconnected)
    ) as wait_for:
        wait_for(200)
        os.kill(gateway(running), signal.SIGKILL)
        seen = wait_for(400)
    lost = sum(count for what, count in seen.items() if what != "200")
    assert lost <= 8, seen


def test_clients_notice_no_reload(running):
    with traffic(running.embedder.port) as wait_for:
        pids = [gateway(running)]
        for _ in range(5):
            wait_for(50)
            reload(running)
            pids.append(gateway(running))
        seen = wait_for(200)
    assert set(seen) == {"200"}
    assert len(set(pids)) == len(pids), "each is another process"


def test_a_client_that_was_idle_during_a_reload_is_served_on_its_connection(running):
    with connected(running) as idle:
        idle.sendall(RAW)
        assert b"connection: close" not in answer(idle).lower()
        reload(running)
        idle.sendall(RAW)
        head = answer(idle).lower()
        assert head.startswith(b"http/1.1 200 ")
        assert b"connection: close" in head, "so that the former gateway may end"


def test_the_former_gateway_ends_once_its_clients_have_gone(running):
    with connected(running) as idle:
        idle.sendall(RAW)
        answer(idle)
        former = gateway(running)
        reload(running)
        assert Path(f"/proc/{former}").exists(), "it has a client"
    while Path(f"/proc/{former}").exists():
        assert running.process.poll() is None


def test_readiness_is_not_lost_on_a_connection_to_the_former_gateway(running):
    """A balancer in front keeps its connection and must not take a reload for an outage."""
    client = HTTPConnection("127.0.0.1", running.embedder.port, timeout=LIMIT_S)
    for turn in range(2):
        client.request("GET", "/readyz")
        response = client.getresponse()
        assert (response.status, response.read()) == (200, b""), turn
        if not turn:
            reload(running)
    client.close()


def write_settings(folder: Path, **values: object) -> None:
    lines = [f"{name} = {orjson.dumps(value).decode()}" for name, value in values.items()]
    (folder / "fleet.toml").write_text("\n".join(["[services.embedder]", *lines]))


def test_a_reload_applies_settings_of_gateways(tmp_path):
    write_settings(tmp_path, max_request_texts=3)
    with serving(tmp_path, "gateway") as (running, _):
        assert running.embedder.post("/embed", {"inputs": ["a"] * 4}).status == 422
        write_settings(tmp_path, max_request_texts=4)
        reload(running)
        assert running.embedder.post("/embed", {"inputs": ["a"] * 4}).status == 200
        assert running.embedder.post("/embed", {"inputs": ["a"] * 5}).status == 422
        os.kill(gateway(running), signal.SIGKILL)
        assert running.embedder.post("/embed", {"inputs": ["a"] * 5}).status == 422, "a restarted gateway has them too"


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"max_request_texts": 0}, "max_request_texts: 0 is below 1"),
        ({"max_batch_tokens": 99}, "services.embedder.max_batch_tokens"),
        ({"payload_limit_bytes": 9_000, "max_request_texts": 5}, "services.embedder.payload_limit_bytes"),
    ],
)
def test_other_settings_are_refused_and_nothing_changes(running, values, said):
    before = gateway(running)
    write_settings(running.folder, **values)
    try:
        result = run_cli(running.folder, "reload")
    finally:
        (running.folder / "fleet.toml").unlink()
    assert (result.returncode, said in result.stderr) == (2, True), result.stderr
    assert gateway(running) == before
    assert running.embedder.post("/embed", {"inputs": "a"}).status == 200


def test_reload_refuses_flags_except_those_that_locate_the_fleet(running):
    before = gateway(running)
    result = run_cli(running.folder, "reload", "--set", "embedder.max_request_texts=5", "--log-level", "debug")
    assert result.returncode == 2
    assert "--set=embedder.max_request_texts=5 --log-level=debug" in result.stderr
    assert gateway(running) == before
    result = run_cli(running.folder.parent, "reload", "--state-dir", str(running.folder / ".embedfleet"))
    assert result.returncode == 0, result.stderr
    assert gateway(running) != before


def test_the_doctor_knows_the_fleets_own_port(running):
    port = str(running.embedder.port)
    settings = ["--set", f"embedder.port={port}", "--set", "reranker.enabled=false"]
    checks = json.loads(run_cli(running.folder, "doctor", "--json", *settings).stdout)["checks"]
    assert [(check["state"], check["message"]) for check in checks if check["id"] == "ports"] == [("ok", port)]


def test_a_reload_runs_new_code(tmp_path):
    source = tmp_path / "source"
    shutil.copytree(
        Path(embedfleet.__file__).parent, source / "embedfleet", ignore=shutil.ignore_patterns("__pycache__")
    )
    with serving(tmp_path, "gateway", {"PYTHONPATH": str(source)}) as (running, _):
        version = source / "embedfleet/__init__.py"
        version.write_text(version.read_text().replace(embedfleet.__version__, "77.0.0"))
        assert running.embedder.get("/info").json["gateway"]["version"] == embedfleet.__version__
        reload(running)
        assert running.embedder.get("/info").json["gateway"]["version"] == "77.0.0"
        (source / "embedfleet/gateway/app.py").write_text("raise SystemExit(7)")
        before = gateway(running)
        result = run_cli(running.folder, "reload")
        assert (result.returncode, "ended with code 7" in result.stderr) == (1, True), result.stderr
        assert gateway(running) == before
        assert running.embedder.post("/embed", {"inputs": "a"}).status == 200
