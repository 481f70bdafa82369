"""Every verb asks the machine once, and doctor shows what up would start; the driver and the daemon are fakes."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from embedfleet.config.load import load
from embedfleet.control.preflight.proposal import propose
from tests.services.docker.daemon import build_nvml
from tests.services.docker.fake_daemon import FakeDaemon, listening
from tests.services.docker.site import T4, gpus
from tests.services.fleet import free_ports, run_cli
from tests.services.tei_folders import write_embedder

ONE = ("--set", "reranker.enabled=false", "--ready-timeout-s", "1", "--restart-backoff-s", "0.1")


@pytest.fixture(scope="module")
def nvml(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("cc") is None and not os.environ.get("CI"):
        pytest.skip("not installed: cc (apt-get install gcc libc6-dev)")
    return build_nvml(tmp_path_factory.mktemp("nvml"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_embedder(tmp_path / "models/bge-m3")
    (tmp_path / "fleet.toml").write_text(f"[services.embedder]\nport = {free_ports(1)[0]}\n")
    return tmp_path


@pytest.fixture
def daemon(folder: Path) -> Iterator[FakeDaemon]:
    with listening(str(folder / "d.sock"), FakeDaemon(str(folder))) as fake:
        yield fake


@pytest.mark.parametrize(
    ("arguments", "of_daemon"),
    [
        (("up", *ONE), 1),
        (("doctor", "--set", "reranker.enabled=false"), 1),
        (("render", "nginx", "--out", "sites", "--set", "reranker.enabled=false"), 0),
        (("service", "install", "--dry-run"), 0),
    ],
)
def test_a_verb_asks_the_driver_and_the_daemon_once(folder, daemon, nvml, arguments, of_daemon):
    env = {
        "LD_LIBRARY_PATH": str(nvml),
        "FAKE_GPUS": gpus(T4, T4),
        "FAKE_NVML_LOG": str(folder / "nvml.log"),
        "DOCKER_HOST": f"unix://{folder}/d.sock",
    }
    result = run_cli(folder, *arguments, env=env)
    assert (folder / "nvml.log").read_text() == "asked\n", result.stderr
    assert daemon.asked["GET /info"] == of_daemon, result.stderr
    if arguments[0] == "doctor":
        assert daemon.asked["GET /containers/json"] == 1
        assert daemon.asked["DELETE /containers/trial"] == 2, "a trial on each GPU, which is removed"


def test_up_creates_every_container_of_the_plan_that_doctor_shows(folder, daemon):
    flags = {
        "reranker.enabled": "false",
        "embedder.driver": "docker",
        "fleet.docker_host": f"unix://{folder}/d.sock",
        "fleet.ready_timeout_s": "1",
    }
    pairs = [word for key, value in flags.items() for word in ("--set", f"{key}={value}") if "fleet" not in key]
    host = ("--docker-host", flags["fleet.docker_host"], *ONE)
    proposal = propose(load(folder / "fleet.toml", {}, flags), sockets=folder / "s")  # as doctor does
    proposal.survey.close()
    planned = {spec.name: spec.fingerprint for spec in proposal.containers}
    assert list(planned) == ["bge-embedder-tei-0", "bge-embedder-tei-1", "gateway-embedder-lb"]
    checks = json.loads(run_cli(folder, "doctor", "--json", *host[:2], *pairs).stdout)["checks"]
    (shown,) = [check["message"] for check in checks if check["id"] == "plan"]
    assert shown == f"up starts {', '.join(planned)}"
    result = run_cli(folder, "up", *host, *pairs)
    assert daemon.fingerprints == planned, result.stderr
