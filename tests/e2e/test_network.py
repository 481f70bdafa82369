"""No verb sends anything that nobody asked for, shown in a network namespace that records every packet."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from safetensors.numpy import load_file, save_file

from embedfleet.cli.main import VERBS
from embedfleet.engine.model.builtin import builtin_model
from tests.services.network import Network, network, why_not

LIMIT_S = 60
# ONNX Runtime 1.32.0 sends telemetry nine seconds after its first import.
TALK_S = 14
# Libraries that call home hold their tongues where they see a CI. HOME is where they keep what they would send, and the
# last is what a person may have set.
QUIET_BY_THEMSELVES = ("CI", "GITHUB_ACTIONS", "TF_BUILD", "HF_HUB_OFFLINE")
EMBED, RERANK = (
    ("/embed", {"inputs": "What is Deep Learning?"}),
    ("/rerank", {"query": "learning", "texts": ["a", "b"]}),
)
ASK = """
import http.client, sys, time
port, path, body, until = int(sys.argv[1]), sys.argv[2], sys.argv[3], time.monotonic() + float(sys.argv[4])
while True:
    try:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        connection.request("POST", path, body, {"content-type": "application/json"})
        reply = connection.getresponse()
        answer = reply.read()
        if reply.status == 200:
            break
    except OSError:
        answer = b"nobody listens"
    assert time.monotonic() < until, answer
    time.sleep(0.05)
"""
STRAY = """
import socket
for name in ("stray.example", "localhost", socket.gethostname() + ".here"):
    try:
        socket.getaddrinfo(name, 80)
    except OSError:
        pass
for family, address in ((socket.AF_INET, "203.0.113.7"), (socket.AF_INET6, "2001:db8:1::7")):
    socket.socket(family, socket.SOCK_DGRAM).sendto(b"", (address, 99))
    stream = socket.socket(family)
    stream.setblocking(False)
    stream.connect_ex((address, 443))
"""


@pytest.fixture
def net(tmp_path) -> Iterator[Network]:
    if reason := why_not():
        if os.environ.get("CI"):
            pytest.fail(f"in CI these tests must run: {reason}")
        pytest.skip(reason)
    folder = tmp_path / "network"
    folder.mkdir()
    with network(folder) as made:
        yield made


class Place:
    """A folder and a home directory in the namespace, and verbs that run there."""

    def __init__(self, net: Network, folder: Path) -> None:
        self._net = net
        self.folder, self.home = folder / "fleet", folder / "home"
        self.folder.mkdir()
        self.home.mkdir()
        self.verbs: set[str] = set()
        self._environment = {name: value for name, value in os.environ.items() if name not in QUIET_BY_THEMSELVES}
        self._environment |= {
            "HOME": str(self.home),
            "ORT_DISABLE_TELEMETRY": "0",
            "PYTHONPATH": os.pathsep.join(sys.path),
        }

    def _command(self, *arguments: str) -> list[str]:
        self.verbs.add(arguments[0])
        return self._net.inside(self.folder, sys.executable, "-P", "-m", "embedfleet", *arguments)

    def run(self, *arguments: str, code: int | None = 0) -> str:
        """Run a verb to its end."""
        done = subprocess.run(
            self._command(*arguments),
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )
        assert code is None or done.returncode == code, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    @contextlib.contextmanager
    def running(self, *arguments: str, **more: str) -> Iterator[None]:
        """Run a verb during the block; it must end when told to."""
        log = self.folder / f"{arguments[0]}-{len(list(self.folder.glob('*.txt')))}.txt"
        with log.open("w") as said:
            process = subprocess.Popen(
                self._command(*arguments), env=self._environment | more, stdout=said, stderr=said
            )
        try:
            yield
            process.send_signal(signal.SIGTERM)
            assert process.wait(LIMIT_S) in {0, -signal.SIGTERM}, log.read_text()
        finally:
            process.kill()
            process.wait()

    @contextlib.contextmanager
    def program(self, *command: str) -> Iterator[None]:
        """Run another program during the block."""
        process = subprocess.Popen(self._net.inside(self.folder, *command), env=self._environment)
        try:
            yield
        finally:
            process.kill()
            process.wait()

    def ask(self, port: int, question: tuple[str, dict[str, object]]) -> None:
        """Ask a port until it answers."""
        path, body = question
        command = [sys.executable, "-c", ASK, str(port), path, json.dumps(body), str(LIMIT_S)]
        subprocess.run(self._net.inside(self.folder, *command), check=True, timeout=2 * LIMIT_S)

    @property
    def kept(self) -> list[str]:
        """Files in the home directory."""
        return [str(file.relative_to(self.home)) for file in self.home.rglob("*") if file.is_file()]


def test_whatever_leaves_is_seen(net, tmp_path):
    assert net.sent() == []
    subprocess.run(net.inside(tmp_path, sys.executable, "-c", STRAY), check=True, timeout=LIMIT_S)
    found = net.sent()
    assert [words.partition(" asks for ")[2] for words in found[:2]] == ["stray.example", "localhost"]
    assert found[-4:] == [
        "udp to 203.0.113.7:99",
        "tcp to 203.0.113.7:443",
        "udp to [2001:db8:1::7]:99",
        "tcp to [2001:db8:1::7]:443",
    ]


@pytest.mark.slow
def test_no_verb_sends_anything_or_asks_for_a_name(net, tmp_path):
    place = Place(net, tmp_path)
    started = time.monotonic()
    with (
        place.running("engine", "--port", "9001"),
        place.running("engine", "--port", "9002", "--backend", "torch"),
        place.running("tei", "--model-id", "builtin", "--port", "9003"),
        place.running("gateway", "--port", "9004", "--replica", "http://127.0.0.1:9001"),
    ):
        set_up_and_look(place)
        serve_a_fleet(place)
        while True:
            for port in (9001, 9002, 9003, 9004):
                place.ask(port, EMBED)
            if time.monotonic() > started + TALK_S:
                break
    assert set(VERBS) <= place.verbs, "a verb that is not tried here"
    assert net.sent() == []
    assert place.kept == []


def set_up_and_look(place: Place) -> None:
    """Run the verbs that need no fleet."""
    place.run("--version")
    place.run("config")
    place.run("config", "check")
    place.run("doctor")
    place.run("doctor", "--set=embedder.driver=docker", code=1)  # there is no daemon
    place.run("status", code=3)
    place.run("service", "install", "--dry-run")
    place.run("service", "uninstall", "--unit-dir", str(place.folder))
    place.run("service", "wait", "--timeout-s", "0")
    servers = [f"--set={name}.replicas=http://127.0.0.1:9001" for name in ("embedder", "reranker")]
    place.run("render", "nginx", "--out", "rendered", *servers)


def serve_a_fleet(place: Place) -> None:
    """Run the verbs from ``up`` to ``down``, with a gateway and an nginx."""
    with place.running("up", "--set=reranker.balancer=nginx"):
        place.ask(8001, EMBED)
        place.ask(8002, RERANK)
        place.run("status", "--json", code=None)  # not all may have inferred yet
        place.run("drain", "embedder-0", "--force")
        place.run("undrain", "embedder-0")
        place.run("logs", "embedder-0")
        place.run("reload")
        place.run("down")
        place.verbs |= {"nginx"}  # `up` has started it


def make_half(folder: Path) -> None:
    """The built-in model in float16."""
    shutil.copytree(builtin_model(), folder)
    file = folder / "model.safetensors"
    save_file({name: array.astype("float16") for name, array in load_file(file).items()}, file)


@pytest.mark.slow
def test_a_hub_id_asks_the_hub_alone(net, tmp_path):
    place = Place(net, tmp_path)
    make_half(tmp_path / "model")
    cache = str(tmp_path / "cache")
    with (
        place.program(sys.executable, "-m", "tests.services.hub", "acme/tiny", str(tmp_path / "model"), "9010"),
        place.running(
            "engine", "--port", "9001", "--model", "acme/tiny", HF_ENDPOINT="http://127.0.0.1:9010", HF_HOME=cache
        ),
    ):
        place.ask(9001, EMBED)
    with place.running("engine", "--port", "9001", "--model", "acme/tiny", HF_HUB_OFFLINE="1", HF_HOME=cache):
        place.ask(9001, EMBED)
    assert net.sent() == []
    assert place.kept == []
