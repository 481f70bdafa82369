"""`embedfleet up` with real engines and balancers, and their failures."""

import json
import os
import signal
import socket
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import count

import pytest

from embedfleet.control.run.fleet_lock import FleetLock
from tests.services.fleet import COMMAND, LIMIT_S, flags, fleet, free_ports, is_alive, run_cli

pytestmark = pytest.mark.slow

QUESTION = "What is Deep Learning?"


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    with fleet(tmp_path_factory.mktemp("fleet")) as running:
        yield running


def test_the_scripts_own_calls_are_answered(running):
    vectors = running.embedder.post("/embed", {"inputs": QUESTION}).json
    assert [len(vector) for vector in vectors] == [384]
    body = {"query": QUESTION, "texts": ["Deep Learning is not...", "Deep learning is..."], "raw_scores": False}
    ranks = running.reranker.post("/rerank", body).json
    assert sorted(rank["index"] for rank in ranks) == [0, 1]
    assert ranks[0]["score"] >= ranks[1]["score"]


def test_both_replicas_of_a_service_work(running):
    for _ in range(20):  # requests that arrive together may share a call
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda n: running.embedder.post("/embed", {"inputs": f"text {n}"}), range(80)))
        assert {answer.status for answer in answers} == {200}
        if all(row["sent"] for row in running.replicas("embedder")):
            return
    raise AssertionError("one replica got no requests")


@pytest.mark.parametrize("service", ["embedder", "reranker"])
def test_killed_engines_cost_no_request_and_come_back(running, service):
    """Each engine is killed in turn while 32 clients send at least 2,000 requests."""
    failed: list[str] = []
    sent = threading.Semaphore(0)
    numbers, over = count(), threading.Event()
    client = getattr(running, service)

    def ask_on() -> None:
        while (number := next(numbers)) < 2000 or not over.is_set():
            ask(f"request number {number}")

    def ask(text: str) -> None:
        if service == "embedder":
            answer = client.post("/embed", {"inputs": text})
            whole = answer.status == 200 and len(answer.json[0]) == 384
        else:
            answer = client.post("/rerank", {"query": text, "texts": [text, "other"]})
            whole = answer.status == 200 and [rank["index"] for rank in answer.json] == [0, 1]
        if not whole:
            failed.append(f"{answer.status} {answer.text[:100]}")
        sent.release()

    with ThreadPoolExecutor(32) as pool:
        work = [pool.submit(ask_on) for _ in range(32)]
        try:
            for kills, index in enumerate((0, 1), start=1):
                for _ in range(300):
                    assert sent.acquire(timeout=LIMIT_S)
                os.kill(running.replicas(service)[index]["pid"], signal.SIGKILL)
                running.until_active(service, restarts=kills)
                running.until_tried(service)  # an accused request that is tried during a second kill counts as guilty
        finally:
            over.set()
        for item in work:
            item.result(LIMIT_S)
    assert failed == []
    assert len({row["url"] for row in running.replicas(service)}) == 2


def test_a_killed_gateway_comes_back_with_its_replicas(running):
    (service,) = [row for row in running.status["services"] if row["name"] == "reranker"]
    os.kill(service["gateway"]["pid"], signal.SIGKILL)
    while True:
        (service,) = [row for row in running.status["services"] if row["name"] == "reranker"]
        states = [row["state"] for row in service["replicas"]]
        if service["gateway"]["restarts"] == 1 and states == ["active", "active"]:
            break
    assert running.reranker.post("/rerank", {"query": "q", "texts": ["t"]}).status == 200


def test_a_second_fleet_in_the_same_folder_is_refused(running):
    result = run_cli(running.folder, "up", *flags(free_ports(2)))
    assert result.returncode == 2
    assert f"pid {running.process.pid}" in result.stderr
    assert "embedfleet down" in result.stderr


def test_status_is_a_table_for_people_and_json_for_programs(running):
    table = run_cli(running.folder, "status")
    assert table.returncode == 0
    assert "embedder-0" in table.stdout
    assert "active" in table.stdout
    assert [service["name"] for service in running.status["services"]] == ["embedder", "reranker"]


def test_logs_show_what_a_process_said(running):
    result = run_cli(running.folder, "logs", "embedder-gateway", "-n", "1000")
    assert "embedder-gateway: " in result.stdout
    assert "replica embedder-0 is active" in result.stdout
    missing = run_cli(running.folder, "logs", "nobody")
    assert missing.returncode == 2
    assert "there are logs of: embedder-0" in missing.stderr


def test_the_default_fleet_fits_in_its_memory(running):
    """At most 1.2 GB for two services of two replicas, their gateways and the supervisor, after some work."""
    for client, path, body in (
        (running.embedder, "/embed", {"inputs": ["a longer text " * 60] * 32}),
        (running.reranker, "/rerank", {"query": "q", "texts": ["a longer text " * 60] * 32}),
    ):
        with ThreadPoolExecutor(4) as pool:
            answers = list(pool.map(lambda _: client.post(path, body).status, range(4)))  # noqa: B023
        assert set(answers) == {200}
    status = running.status
    rows = [row for service in status["services"] for row in (service["gateway"], *service["replicas"])]
    assert all(row["pss_bytes"] > 0 for row in rows)
    assert status["pss_bytes"] + sum(row["pss_bytes"] for row in rows) < 1_200_000_000


def test_ctrl_c_ends_every_process(tmp_path):
    with fleet(tmp_path) as running:
        pids = running.pids
        assert len(pids) == 6
        running.process.send_signal(signal.SIGINT)
        running.process.communicate(timeout=LIMIT_S)
        assert running.process.returncode == 0
        assert not any(is_alive(pid) for pid in pids)
        assert run_cli(tmp_path, "status").returncode == 3


def test_no_process_outlives_a_killed_up(tmp_path):
    with fleet(tmp_path) as running:
        pids = running.pids
        running.process.kill()
        running.process.communicate(timeout=LIMIT_S)
        while any(is_alive(pid) for pid in pids):
            os.sched_yield()
    assert run_cli(tmp_path, "status").returncode == 3
    assert (tmp_path / ".embedfleet/run/fleet.sock").is_socket()
    next_one = FleetLock(tmp_path / ".embedfleet")
    next_one.acquire()
    assert list(next_one.run.path.iterdir()) == [], "the next fleet removes what was left"
    next_one.release()


def test_detach_returns_once_it_serves_and_down_ends_it(tmp_path):
    ports = free_ports(2)
    up = run_cli(tmp_path, "up", "--detach", *flags(ports))
    try:
        assert up.returncode == 0, up.stderr
        assert f"curl 127.0.0.1:{ports[0]}/embed" in up.stdout
        assert run_cli(tmp_path, "status").returncode == 0
    finally:
        down = run_cli(tmp_path, "down")
    assert (down.returncode, "stopped" in down.stderr) == (0, True)
    assert run_cli(tmp_path, "status").returncode == 3
    assert "no fleet runs" in run_cli(tmp_path, "down").stderr


def test_an_interrupted_detach_leaves_nothing_running(tmp_path):
    command = [*COMMAND, "up", "--detach", *flags(free_ports(2))]

    def hear_ctrl_c() -> None:  # a shell ignores it in its background jobs
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    with subprocess.Popen(
        command,
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=hear_ctrl_c,  # noqa: PLW1509 - there are no threads here
    ) as up:
        while "is starting" not in up.stderr.readline():
            assert up.poll() is None
        up.send_signal(signal.SIGINT)
        assert "error: interrupted" in up.communicate(timeout=LIMIT_S)[1]
    assert up.returncode == 1
    assert run_cli(tmp_path, "status").returncode == 3


def test_status_with_a_gateway_that_hangs_reports_the_fleet(tmp_path):
    with fleet(tmp_path) as running:
        pid = running.status["services"][0]["gateway"]["pid"]
        os.kill(pid, signal.SIGSTOP)
        try:
            status = run_cli(tmp_path, "status", "--json")
        finally:
            os.kill(pid, signal.SIGCONT)
    assert status.returncode == 1
    states = [[row["state"] for row in service["replicas"]] for service in json.loads(status.stdout)["services"]]
    assert states == [["ready", "ready"], ["active", "active"]]


def test_a_port_in_use_is_named_and_nothing_is_left_running(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = run_cli(
            tmp_path, "up", "--set", "embedder.host=127.0.0.1", *flags([port, *free_ports(1)]), "--log-level", "debug"
        )
    assert result.returncode == 2
    assert f"port {port} (services.embedder.port) is in use" in result.stderr
    assert run_cli(tmp_path, "status").returncode == 3
    assert not list((tmp_path / ".embedfleet" / "logs").glob("embedder*"))


def test_a_model_that_cannot_be_served_stops_up_with_its_reason(tmp_path):
    (tmp_path / "broken").mkdir()
    result = run_cli(tmp_path, "up", *flags(free_ports(2)), "--set", "embedder.model=broken")
    assert result.returncode == 2
    assert "config.json is missing" in result.stderr
    assert "hint: the folder must hold config.json" in result.stderr
    assert run_cli(tmp_path, "status").returncode == 3


def test_a_fleet_runs_in_a_deep_folder(tmp_path):
    deep = tmp_path / ("d" * 100) / ("e" * 100)
    deep.mkdir(parents=True)
    ports = free_ports(2)
    up = run_cli(deep, "up", "--detach", *flags(ports), "--set", "reranker.enabled=false")
    try:
        assert up.returncode == 0, up.stderr
        assert [row["name"] for row in json.loads(run_cli(deep, "status", "--json").stdout)["services"]] == ["embedder"]
    finally:
        run_cli(deep, "down")


def test_a_second_signal_ends_everything_at_once(tmp_path):
    with fleet(tmp_path, "--set", "embedder.max_request_texts=1") as running:
        pids = running.pids
        (replica, *_) = running.replicas("embedder")
        os.kill(replica["pid"], signal.SIGSTOP)  # it cannot react to the first signal
        running.process.send_signal(signal.SIGTERM)
        running.process.send_signal(signal.SIGINT)
        running.process.communicate(timeout=LIMIT_S)
        while any(is_alive(pid) for pid in pids):
            os.sched_yield()


def test_an_engine_alone_serves_until_it_is_told_to_stop(tmp_path):
    port = free_ports(1)[0]
    process = subprocess.Popen(
        [*COMMAND, "engine", "--port", str(port)], cwd=tmp_path, stderr=subprocess.PIPE, text=True
    )
    try:
        while True:
            assert process.poll() is None
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except ConnectionRefusedError:
                os.sched_yield()
    finally:
        process.send_signal(signal.SIGTERM)
        told = process.communicate(timeout=LIMIT_S)[1].splitlines()
    assert told[-1].partition(" info ")[2].strip() == f"listening on 127.0.0.1, port {port}"
    assert not [line for line in told if " info " not in line]
    assert process.returncode == 0
