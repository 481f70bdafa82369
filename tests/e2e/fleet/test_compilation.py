"""A fleet that run.sh starts compiles its gateways in the background, and moves them over without a failed request.

The clone has the whole source, but compiles one small module of it, which takes seconds instead of minutes.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path

import pytest

from tests.services.clone import LIMIT_S, ROOT, Clone
from tests.services.engine import Client
from tests.services.fleet import free_ports, is_alive
from tests.services.fleet_status import FleetStatus
from tests.services.traffic import ask

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("cc") is None and "CI" not in os.environ, reason="there is no C compiler"),
]

PACKAGES = os.pathsep.join(path for path in sys.path if path.endswith("site-packages"))
# Stands in for scripts/compile.py: starts a program that never ends, and names it and its niceness in a file.
STUCK = """
import subprocess
program = "printf '%s %s' $$ $(nice) > stuck.new; mv stuck.new stuck; exec sleep 600"
subprocess.run(["sh", "-c", program], cwd="{folder}")
"""
# The same: fails, and adds a line to a file.
FAILING = """
with open("{folder}/tries", "a") as file:
    print("tried", file=file)
raise SystemExit("error: the compiler does not like this")
"""


class RealClone(Clone):
    """A clone with the whole source, of which it compiles one module."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        shutil.rmtree(self.folder / "src")
        shutil.copytree(ROOT / "src", self.folder / "src", ignore=shutil.ignore_patterns("__pycache__"))
        script = self.folder / "scripts/compile.py"
        text = script.read_text()
        whole = 'COMPILED = ("dialects", "gateway", "http", "metrics.py")'
        assert whole in text
        script.write_text(text.replace(whole, 'COMPILED = ("metrics.py",)'))
        # Beside other tests, a compiler of the lowest priority would take minutes.
        job = self.folder / "scripts/compiled_code.py"
        self.job = job.read_text()
        assert "os.nice(19)" in self.job
        job.write_text(self.job.replace("os.nice(19)", "os.nice(0)"))
        (self.folder / "requirements-compile.lock").write_text("# nothing: the tests' environment has the compiler\n")

    def replace_compiler(self, code: str) -> None:
        """Replace the compiler by a program that takes no time, and restore its priority."""
        (self.folder / "scripts/compile.py").write_text(code.format(folder=self.folder))
        (self.folder / "scripts/compiled_code.py").write_text(self.job)

    def compile(self) -> subprocess.CompletedProcess[str]:
        """Run scripts/compile."""
        return self.execute("scripts/compile", PYTHONPATH=PACKAGES)

    @property
    def half_made(self) -> list[str]:
        return [path.name for path in self.folder.glob(".compiled-new-*")]


@pytest.fixture
def clone(tmp_path: Path) -> RealClone:
    return RealClone(tmp_path)


class Running:
    """A fleet of one service with one replica."""

    def __init__(self, clone: RealClone, port: int) -> None:
        self.clone = clone
        self.client = Client(port)
        self._status = FleetStatus()

    @property
    def status(self) -> dict:
        found = self._status.ask(self.clone.folder)
        assert found is not None
        return found

    @property
    def gateway(self) -> dict:
        return self.status["services"][0]["gateway"]

    @property
    def info(self) -> dict:
        return self.client.get("/info").json["gateway"]

    def until(self, state: str) -> dict:
        """Wait for a state of the code; return that part of the status."""
        while (code := self.status["code"])["state"] != state:
            assert code["state"] == "compiling", code
        return code

    def log(self, name: str) -> str:
        return (self.clone.folder / f".embedfleet/logs/{name}.log").read_text()


@contextmanager
def running(clone: RealClone, *arguments: str, ends: bool = True, **env: str) -> Iterator[Running]:
    """Start run.sh, and stop the fleet at the end of the block; without ``ends`` it is killed there."""
    port = free_ports(1)[0]
    settings = ["--set", f"embedder.port={port}", "--set", "reranker.enabled=false", "--set", "embedder.replicas=1"]
    process = clone.begin(*settings, *arguments, PYTHONPATH=PACKAGES, **env)
    assert process.stdout is not None
    try:
        assert process.stdout.readline().startswith("embedder: "), process.communicate(timeout=LIMIT_S)[1]
        yield Running(clone, port)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=LIMIT_S)
    assert process.returncode == (0 if ends else -signal.SIGKILL), said


def ask_on(port: int, over: threading.Event) -> Counter[int]:
    """Ask with a connection for each request, with short pauses, which leave the processor to the compiler."""
    seen: Counter[int] = Counter()
    while not over.wait(0.02):
        client = HTTPConnection("127.0.0.1", port, timeout=LIMIT_S)
        seen[ask(client, f"text {seen.total()}")] += 1
        client.close()
    return seen


def test_the_gateway_moves_to_compiled_code_without_a_failed_request(clone):
    with running(clone) as fleet:
        former = fleet.gateway
        assert (former["code"], fleet.info["compiled"]) == ("interpreted", False)
        assert "before the compiler was done" in fleet.info["interpreted_because"]
        over = threading.Event()
        with ThreadPoolExecutor(4) as pool:
            try:
                clients = [pool.submit(ask_on, fleet.client.port, over) for _ in range(4)]
                fleet.until("compiled")
                while not fleet.info["compiled"]:
                    pass
            finally:
                over.set()
        seen = sum((client.result() for client in clients), Counter())
        assert (set(seen), seen.total() > 20) == ({200}, True)
        assert "interpreted_because" not in fleet.info
        while (moved := fleet.gateway)["pid"] == former["pid"]:
            pass
        assert moved["code"] == "compiled"
        assert "this gateway is compiled" in fleet.log("embedder-gateway")
        os.kill(moved["pid"], signal.SIGKILL)
        while (restarted := fleet.gateway)["pid"] in {moved["pid"], None} or restarted["phase"] != "ready":
            pass
        assert fleet.info["compiled"], "a gateway that is started again is compiled too"
    assert (clone.half_made, (clone.folder / ".venv-compile").exists()) == ([], False)
    with running(clone) as fleet:
        assert (fleet.info["compiled"], fleet.status["code"]["state"]) == (True, "compiled")
        assert not (clone.folder / ".venv-compile").exists(), "nothing is fetched again"
    with running(clone, "--compile", "off") as fleet:
        assert fleet.info["interpreted_because"] == "compile is off"
        assert fleet.status["code"]["state"] == "interpreted"


def test_stopping_the_fleet_ends_the_compiler_and_leaves_nothing(clone):
    clone.replace_compiler(STUCK)
    file = clone.folder / "stuck"
    with running(clone) as fleet:
        while not file.exists():
            assert fleet.status["code"]["state"] == "compiling"
        pid, niceness = map(int, file.read_text().split())
        assert (is_alive(pid), niceness) == (True, 19)
    assert not is_alive(pid)
    assert (clone.half_made, (clone.folder / ".compiled").exists()) == ([], False)
    assert json.loads((clone.folder / ".compiled-failed").read_text())["tries"] == 0, "the next start compiles"


def test_no_compiler_outlives_a_fleet_that_is_killed(clone):
    clone.replace_compiler(STUCK)
    file = clone.folder / "stuck"
    with running(clone, ends=False) as fleet:
        while not file.exists():
            assert fleet.status["code"]["state"] == "compiling"
        pid = int(file.read_text().split()[0])
        os.kill(fleet.status["pid"], signal.SIGKILL)
    while is_alive(pid) or clone.half_made:
        pass


def test_a_compiler_that_fails_is_not_started_again_for_the_same_source(clone):
    clone.replace_compiler(FAILING)
    with running(clone) as fleet:
        code = fleet.until("interpreted")
        assert code["reason"] == "the source could not be compiled"
        assert "scripts/compile tries again" in code["hint"]
        shown = clone.run_command(clone.folder, "status", PYTHONPATH=PACKAGES)
        assert f"gateways run interpreted: {code['reason']}" in shown.stdout
        assert shown.returncode == 0, "the fleet serves"
        assert "the compiler does not like this" in fleet.log("compile")
    assert (clone.half_made, (clone.folder / ".compiled").exists()) == ([], False)
    with running(clone) as fleet:
        assert fleet.until("interpreted")["reason"] == "the source could not be compiled"
    assert (clone.folder / "tries").read_text() == "tried\n"
    by_hand = clone.compile()
    assert (by_hand.returncode, "the source could not be compiled" in by_hand.stderr) == (2, True)
    assert (clone.folder / "tries").read_text() == "tried\n" * 2


def test_without_a_compiler_the_status_says_what_to_install(clone):
    with running(clone, CC="/no/such/compiler") as fleet:
        code = fleet.until("interpreted")
        assert code["reason"] == "there is no C compiler: /no/such/compiler"
        assert "apt-get install gcc" in code["hint"]
    assert not (clone.folder / ".venv-compile").exists()
