"""Remote servers behind either balancer; a server that fails fast attracts traffic."""

import asyncio
import json
import resource
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from embedfleet.control.balancers.nginx import LocalNginx
from embedfleet.control.balancers.nginx_steering import NginxSteering
from embedfleet.control.host.programs import find_nginx
from embedfleet.control.plan.nginx_conf import Site
from embedfleet.errors import FleetError
from embedfleet.types import Endpoint
from tests.services.fleet import Fleet, fleet, run_cli
from tests.services.replica import FakeReplica

needs_nginx = pytest.mark.skipif(
    shutil.which("nginx", path="/usr/sbin:/usr/bin") is None, reason="apt-get install nginx-light"
)
pytestmark = pytest.mark.slow


@contextmanager
def replicas(count: int) -> Iterator[list[FakeReplica]]:
    """Run replicas in a thread of this process."""
    loop = asyncio.new_event_loop()
    made: list[FakeReplica] = []

    async def start() -> None:
        made.extend([await FakeReplica(number).start() for number in range(count)])

    async def stop() -> None:
        for replica in made:
            await replica.kill()

    loop.run_until_complete(start())
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield made
    finally:
        asyncio.run_coroutine_threadsafe(stop(), loop).result(30)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@contextmanager
def serving(
    tmp_path, balancer: str, env: dict[str, str] | None = None, **more: str
) -> Iterator[tuple[Fleet, list[FakeReplica]]]:
    options = more | {
        "replicas": "",
        "balancer": balancer,
        "probe_interval_s": "0.2",
        "probe_timeout_s": "5",
    }
    with replicas(3) as made:
        options["replicas"] = ",".join(replica.url for replica in made)
        flags = [word for name, value in options.items() for word in ("--set", f"embedder.{name}={value}")]
        with fleet(tmp_path, *flags, "--set", "reranker.enabled=false", env=env) as running:
            yield running, made


def answers(running: Fleet, count: int) -> list[int]:
    return [running.embedder.post("/embed", {"inputs": f"text {number}"}).status for number in range(count)]


def until_state(running: Fleet, name: str, state: str) -> None:
    while {row["id"]: row["state"] for row in running.replicas("embedder")}[name] != state:
        pass


@needs_nginx
def test_behind_nginx_a_replica_that_fails_fast_gets_nothing_after_a_failed_probe(tmp_path):
    with serving(tmp_path, "nginx") as (running, made):
        assert set(answers(running, 30)) == {200}
        made[1].mode = made[1].probe_mode = 424
        until_state(running, "bge-embedder-tei-1", "ejected")
        made[1].seen.clear()
        assert answers(running, 500) == [200] * 500
        assert made[1].seen == []
        text = (tmp_path / ".embedfleet/nginx/embedder/nginx-embedder.conf").read_text()
        assert f"# 127.0.0.1:{made[1].server.port} gets nothing: /embed answered 424" in text
        made[1].mode = made[1].probe_mode = 200
        until_state(running, "bge-embedder-tei-1", "active")
        assert set(answers(running, 30)) == {200}
        assert made[1].seen, "it is back"


def test_behind_the_gateway_a_replica_that_fails_fast_fails_no_request(tmp_path):
    with serving(tmp_path, "gateway") as (running, made):
        made[1].mode = made[1].probe_mode = 424
        assert answers(running, 500) == [200] * 500


@needs_nginx
def test_when_all_probes_fail_nginx_keeps_its_replicas(tmp_path):
    with serving(tmp_path, "nginx") as (running, made):
        for replica in made:
            replica.probe_mode = 424
        for number in range(3):
            until_state(running, f"bge-embedder-tei-{number}", "ejected")
        assert set(answers(running, 30)) == {200}


@needs_nginx
def test_without_open_files_in_the_fleet_nginx_keeps_its_replicas(tmp_path):
    with serving(tmp_path, "nginx", probe_interval_s="0.1") as (running, made):
        _, hard = resource.prlimit(running.process.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(running.process.pid, resource.RLIMIT_NOFILE, (0, hard))
        said = next(line for line in running.process.stderr if "Too many open files" in line)
        assert "cannot be probed" in said
        assert answers(running, 30) == [200] * 30
        resource.prlimit(running.process.pid, resource.RLIMIT_NOFILE, (hard, hard))
        assert all(replica.seen for replica in made)
        for number in range(3):
            until_state(running, f"bge-embedder-tei-{number}", "active")


@needs_nginx
def test_nginx_retries_on_another_replica_after_a_reset(tmp_path):
    with serving(tmp_path, "nginx") as (running, made):
        made[0].mode = "reset"
        assert set(answers(running, 60)) == {200}


@needs_nginx
def test_a_configuration_that_nginx_refuses_is_not_put_in_place(tmp_path):
    upstream = "good"

    def make_site(serving, resting) -> Site:
        return Site("s", upstream, "127.0.0.1:1", serving, resting, access_log=f"{tmp_path}/access.log")

    steering = NginxSteering(
        tmp_path,
        "s",
        make_site=make_site,
        nginx=LocalNginx(find_nginx(), tmp_path),
        addresses={},
        url="http://127.0.0.1:1",
    )
    one, two = Endpoint("a", "http://127.0.0.1:7001"), Endpoint("b", "http://127.0.0.1:7002")
    asyncio.run(steering.apply([one], []))
    before = (tmp_path / "nginx-s.conf").read_text()
    assert "server 127.0.0.1:7001 max_fails=0;" in before
    upstream = "bad name; {"
    with pytest.raises(FleetError, match="nginx does not accept its new configuration"):
        asyncio.run(steering.apply([one, two], []))
    assert (tmp_path / "nginx-s.conf").read_text() == before


def test_a_configuration_that_cannot_be_written_is_a_fleet_error(tmp_path):
    (tmp_path / "file").touch()
    steering = NginxSteering(
        tmp_path / "file",
        "s",
        make_site=lambda serving, resting: Site("s", "u", "127.0.0.1:1", serving, resting),
        nginx=LocalNginx("nginx", tmp_path),
        addresses={},
        url="http://127.0.0.1:1",
    )
    with pytest.raises(FleetError, match="nginx cannot be reconfigured"):
        asyncio.run(steering.apply([Endpoint("a", "http://127.0.0.1:7001")], []))


def test_render_writes_a_file_for_each_service(tmp_path):
    flags = ["--set", "embedder.replicas=http://a:80,http://b:8080", "--set", "reranker.replicas=http://c:80"]
    result = run_cli(tmp_path, "render", "nginx", "--out", "conf.d", *flags)
    assert result.stdout.split() == ["conf.d/nginx-embedder.conf", "conf.d/nginx-reranker.conf"]
    text = (tmp_path / "conf.d/nginx-embedder.conf").read_text()
    assert "server a:80 max_fails=0;" in text
    assert "server b:8080 max_fails=0;" in text
    assert "listen 8001;" in text
    assert "run that again when the replicas change" in text
    assert "changes made here are lost" not in text, "nothing writes this file again"
    processes = run_cli(tmp_path, "render", "nginx", "--out", "conf.d")
    assert (processes.returncode, processes.stdout) == (2, "")
    assert "are processes, whose ports change" in processes.stderr


def test_a_unit_waits_for_the_gpus_and_then_runs_up(tmp_path):
    flags = ("--set", "embedder.port=9001")
    result = run_cli(tmp_path, "service", "install", "--dry-run", *flags, env={"EMBEDFLEET_GPU": "CPU"})
    assert "ExecStartPre=" in result.stdout
    assert 'up "--set=embedder.port=9001"' in result.stdout
    assert 'Environment="EMBEDFLEET_GPU=CPU"' in result.stdout
    assert f"WorkingDirectory={tmp_path}" in result.stdout
    assert "LimitNOFILE=524288" in result.stdout
    units = tmp_path / "units"
    units.mkdir()
    installed = run_cli(tmp_path, "service", "install", "--unit-dir", str(units))
    assert installed.returncode == 0
    if not Path("/run/systemd/system").is_dir():
        assert "systemd does not run here: once it does, enable the unit" in installed.stderr
    assert (units / "embedfleet.service").is_file()
    assert run_cli(tmp_path, "service", "uninstall", "--unit-dir", str(units)).returncode == 0
    assert list(units.iterdir()) == []
    waiting = run_cli(tmp_path, "service", "wait", "--uuid", "GPU-none", "--timeout-s", "0")
    assert (waiting.returncode, "does not show GPU-none" in waiting.stderr) == (1, True)


def test_doctor_blocks_nothing_on_a_machine_without_gpus(tmp_path):
    ports = ["--set", "embedder.port=18471", "--set", "reranker.port=18472"]
    result = run_cli(tmp_path, "doctor", "--json", *ports)
    assert (result.returncode, json.loads(result.stdout)["blocked"]) == (0, False)
    result = run_cli(tmp_path, "doctor", "--json", *ports, "--set", "embedder.max_connections=10000000")
    (files,) = [check for check in json.loads(result.stdout)["checks"] if check["id"] == "files"]
    assert (result.returncode, files["state"], "10000000" in files["message"]) == (0, "warn", True)


def test_up_with_new_model_lets_a_running_fleet_change_its_model(tmp_path):
    with serving(tmp_path, "gateway") as (running, made):
        made[1].vector = [4.0, 3.0]
        until_state(running, "bge-embedder-tei-1", "ejected")
        (row,) = [row for row in running.replicas("embedder") if row["id"] == "bge-embedder-tei-1"]
        assert "embedfleet up --new-model" in row["reason"]
        told = run_cli(tmp_path, "up", "--new-model")
        assert (told.returncode, told.stdout) == (0, "")
        assert "the running fleet allows a new model" in told.stderr
        until_state(running, "bge-embedder-tei-1", "active")
        for number in (0, 2):
            until_state(running, f"bge-embedder-tei-{number}", "ejected")
            made[number].vector = [4.0, 3.0]
        for number in range(3):
            until_state(running, f"bge-embedder-tei-{number}", "active")
