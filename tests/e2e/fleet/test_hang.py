"""Children of a real fleet that hang are replaced, and clients are served meanwhile."""

import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.fleet.test_remote import needs_nginx
from tests.services.fleet import LIMIT_S, Fleet, fleet, is_alive, run_cli

pytestmark = pytest.mark.slow

ONE = ("--set", "reranker.enabled=false")
SOON = (*ONE, "--hung-after-s", "3", "--balancer-hung-after-s", "3")
NEVER = (*ONE, "--hung-after-s", "0", "--balancer-hung-after-s", "0")
LONG = "to hang is to be there and to give no answer " * 200  # 2,000 tokens


def gateway(running: Fleet) -> dict[str, Any]:
    return running.status["services"][0]["gateway"]


def workers(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def until_replaced(running: Fleet, pid: int) -> dict[str, Any]:
    """Wait until a process has ended and all replicas serve; return the service's status."""
    while True:
        status = running.status
        (service,) = status["services"]
        pids = {row["pid"] for row in (service["gateway"], *service["replicas"])}
        if status["ready"] and pid not in pids and not is_alive(pid):
            return service
        assert running.process.poll() is None, "the fleet ended"


@contextmanager
def asked(running: Fleet, text: str = "text", clients: int = 4) -> Iterator[list[int]]:
    """Run clients during the block; yield the statuses of their answers."""
    statuses: list[int] = []
    over = threading.Event()

    def ask_on() -> None:
        while not over.is_set():
            statuses.append(running.embedder.post("/embed", {"inputs": [text], "truncate": True}).status)

    with ThreadPoolExecutor(clients) as pool:
        work = [pool.submit(ask_on) for _ in range(clients)]
        try:
            yield statuses
        finally:
            over.set()
        for item in work:
            item.result(LIMIT_S)


def test_an_engine_that_hangs_is_replaced_and_costs_no_request(tmp_path):
    with fleet(tmp_path, *SOON) as running:
        pid = running.replicas("embedder")[0]["pid"]
        with asked(running) as statuses:
            os.kill(pid, signal.SIGSTOP)
            service = until_replaced(running, pid)
        assert set(statuses) == {200}
        first, second = service["replicas"]
        assert first["last_end"].startswith("hung: one of its processes has been stopped for")
        assert (first["restarts"], second["restarts"], service["gateway"]["restarts"]) == (1, 0, 0)
        assert f"embedder-0: last end: {first['last_end']}" in run_cli(tmp_path, "status").stdout


def test_a_gateway_that_hangs_is_replaced(tmp_path):
    with fleet(tmp_path, *SOON) as running:
        pid = gateway(running)["pid"]
        os.kill(pid, signal.SIGSTOP)
        service = until_replaced(running, pid)
        assert service["gateway"]["restarts"] == 1
        assert service["gateway"]["last_end"].startswith("hung: one of its processes has been stopped for")
        assert running.embedder.post("/embed", {"inputs": "text"}).status == 200


@needs_nginx
@pytest.mark.parametrize("who", ["the master", "all"])
def test_an_nginx_that_hangs_is_replaced_with_its_workers(tmp_path, who):
    """nginx without its master serves but cannot be reconfigured."""
    with fleet(tmp_path, *SOON, "--set", "embedder.balancer=nginx") as running:
        master = gateway(running)["pid"]
        processes = [master, *workers(master)]
        for pid in processes if who == "all" else [master]:
            os.kill(pid, signal.SIGSTOP)
        service = until_replaced(running, master)
        assert service["gateway"]["last_end"].startswith("hung: ")
        assert not any(map(is_alive, processes))
        assert running.embedder.post("/embed", {"inputs": "text"}).status == 200


def test_readyz_and_status_show_when_all_engines_hang_and_continue(tmp_path):
    probes = ("--set", "embedder.probe_interval_s=1", "--set", "embedder.probe_timeout_s=1")
    with fleet(tmp_path, *NEVER, *probes) as running:
        pids = [row["pid"] for row in running.replicas("embedder")]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        while running.embedder.get("/readyz").status != 503:
            assert is_alive(pids[0])
        status = running.status
        assert status["ready"] is False
        assert not {row["state"] for row in status["services"][0]["replicas"]} & {"active", "ready"}
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
        while not running.status["ready"]:
            assert running.process.poll() is None
        assert running.embedder.get("/readyz").status == 200
        assert [row["pid"] for row in running.replicas("embedder")] == pids


def test_status_shows_when_a_gateway_hangs_and_continues(tmp_path):
    with fleet(tmp_path, *NEVER) as running:
        os.kill(gateway(running)["pid"], signal.SIGSTOP)
        while gateway(running)["phase"] != "silent":
            assert running.process.poll() is None
        assert running.status["ready"] is False
        told = run_cli(tmp_path, "status")
        assert told.returncode == 1
        assert "embedder-gateway: one of its processes has been stopped for" in told.stdout
        os.kill(gateway(running)["pid"], signal.SIGCONT)
        while not running.status["ready"]:
            assert running.process.poll() is None
        assert gateway(running)["restarts"] == 0


def test_down_does_not_wait_for_children_that_hang(tmp_path):
    """Their grace period is longer than the test may take."""
    with fleet(tmp_path, *NEVER, "--stop-grace-s", str(10 * LIMIT_S)) as running:
        pids = running.pids
        for pid in pids[:2]:
            os.kill(pid, signal.SIGSTOP)
        assert run_cli(tmp_path, "down").returncode == 0
        assert not any(map(is_alive, pids))


def test_busy_children_do_not_count_as_hung(tmp_path):
    """All cores are busy with long texts for several times the bound, and no child counts as hung."""
    with fleet(tmp_path, *SOON) as running:
        before = running.pids
        with asked(running, LONG, clients=16) as statuses:
            while len(statuses) < 300:
                assert running.process.poll() is None
        assert running.pids == before
        assert 200 in statuses


def test_a_fleet_that_was_stopped_as_a_whole_continues_unchanged(tmp_path):
    with fleet(tmp_path, *SOON) as running:
        pids = [running.process.pid, *running.pids]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        told = run_cli(tmp_path, "status")  # which takes longer than the bound
        assert (told.returncode, f"kill -CONT {pids[0]}" in told.stderr) == (1, True)
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
        for _ in range(4):  # each takes a while, and together more than the bound
            assert run_cli(tmp_path, "status").returncode in {0, 1}
        while not running.status["ready"]:
            assert running.process.poll() is None
        assert running.pids == pids[1:]
