"""A replica is drained and undrained behind either balancer without a failed request."""

import os
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.e2e.fleet.test_remote import needs_nginx, serving
from tests.services.fleet import LIMIT_S, Fleet, run_cli
from tests.services.replica import FakeReplica
from tests.services.traffic import traffic

pytestmark = pytest.mark.slow

NAMES = [f"bge-embedder-tei-{number}" for number in range(3)]
BALANCERS = [pytest.param("gateway"), pytest.param("nginx", marks=needs_nginx)]


def until_seen(replica: FakeReplica, count: int, wait_for: Callable[[int], None]) -> None:
    """Wait until a replica gets requests; the balancer decides how soon."""
    for _ in range(200):
        if len(replica.seen) > count:
            return
        wait_for(50)
    raise AssertionError("it has got none of 10,000 requests")


def states(running: Fleet) -> dict[str, str]:
    return {row["id"]: row["state"] for row in running.replicas("embedder")}


def drain(running: Fleet, number: int, *flags: str) -> None:
    result = run_cli(running.folder, "drain", NAMES[number], *flags)
    assert (result.returncode, result.stdout) == (0, ""), result.stderr
    assert f"{NAMES[number]} is drained" in result.stderr


def undrain(running: Fleet, number: int) -> None:
    result = run_cli(running.folder, "undrain", NAMES[number])
    assert (result.returncode, f"{NAMES[number]} is active" in result.stderr) == (0, True), result.stderr


@pytest.mark.parametrize("balancer", BALANCERS)
def test_clients_notice_no_drain_or_undrain(tmp_path, balancer):
    with serving(tmp_path, balancer) as (running, made), traffic(running.embedder.port, keeping=0) as wait_for:
        made[1].seen.clear()  # remove the requests that measured its speed when it joined
        until_seen(made[1], 0, wait_for)
        drain(running, 1)
        wait_for(50)  # nginx lets earlier requests finish, and does not count them
        count = len(made[1].seen)
        wait_for(200)
        assert len(made[1].seen) == count
        assert states(running) == dict(zip(NAMES, ("active", "drained", "active"), strict=True))
        assert run_cli(running.folder, "status").returncode == 0, "an operator drained it"
        undrain(running, 1)
        until_seen(made[1], count, wait_for)
        seen = wait_for(8)
    assert set(seen) == {"200"}, "a client noticed"


def test_drain_waits_for_the_replicas_requests(tmp_path):
    """Without hedging, which would send the held requests to another replica too."""
    with serving(tmp_path, "gateway", hedge="false") as (running, made), ThreadPoolExecutor(8) as pool:
        for replica in made:
            replica.mode = "hold"
        asked = []
        while not made[1].held:  # one by one, so that no two share a call; each goes to the idlest replica
            asked.append(pool.submit(running.embedder.post, "/embed", {"inputs": f"text {len(asked)}"}))
            while sum(len(replica.held) for replica in made) < len(asked):
                assert not any(item.done() for item in asked)
            assert len(asked) <= len(made), "no replica has two while another has none"
        early = run_cli(running.folder, "drain", NAMES[1], "--timeout", "0")
        assert early.returncode == 1
        assert f"{NAMES[1]} is draining, 1 under way" in early.stderr
        waiting = pool.submit(drain, running, 1)
        loop = made[0].server.loop
        for replica in made:
            for exchange in replica.held:
                loop.call_soon_threadsafe(replica.answer, exchange)
        assert {item.result(LIMIT_S).status for item in asked} == {200}
        waiting.result(LIMIT_S)


def test_a_replica_stays_drained_when_the_gateway_dies(tmp_path):
    with serving(tmp_path, "gateway") as (running, made):
        drain(running, 1)
        os.kill(running.status["services"][0]["gateway"]["pid"], signal.SIGKILL)
        while running.status["services"][0]["gateway"]["restarts"] != 1:
            pass
        while states(running) != dict(zip(NAMES, ("active", "drained", "active"), strict=True)):
            pass
        made[1].seen.clear()
        assert {running.embedder.post("/embed", {"inputs": f"text {n}"}).status for n in range(50)} == {200}
        assert made[1].seen == []


@needs_nginx
def test_the_last_replica_is_drained_only_by_force(tmp_path):
    with serving(tmp_path, "nginx") as (running, _):
        unknown = run_cli(tmp_path, "drain", "nobody")
        assert unknown.returncode == 2
        assert unknown.stderr == f"error: there is no replica nobody\n\nhint: there are: {', '.join(NAMES)}\n"
        drain(running, 0)
        drain(running, 1)
        refused = run_cli(tmp_path, "drain", NAMES[2])
        assert (refused.returncode, "no other replica of embedder serves" in refused.stderr) == (2, True)
        assert running.embedder.post("/embed", {"inputs": "text"}).status == 200
        drain(running, 2, "--force")
        assert run_cli(tmp_path, "status").returncode == 1, "no replica serves"
        undrain(running, 0)
        assert running.embedder.post("/embed", {"inputs": "text"}).status == 200
