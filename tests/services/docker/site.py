"""A user's folder with models and image tars, in which `embedfleet` runs against the tests' daemon."""

import contextlib
import itertools
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import docker

from tests.services.engine import Answer, Client
from tests.services.fleet import COMMAND, LIMIT_S, free_ports
from tests.services.fleet_status import FleetStatus

T4 = "Tesla T4|7.5|15360|15000"
H100 = "NVIDIA H100 80GB HBM3|9.0|81920|81000"
# Pause between the requests of a client. Docker's proxy uses a port for each connection to a container, which is free
# again after a minute (TIME_WAIT); without a pause clients use up all 28,232 (ip(7), ip_local_port_range) and fail.
PAUSE_S = 0.1
QUESTION = {"inputs": "What is Deep Learning?"}
RANKING = {
    "query": "What is Deep Learning?",
    "texts": ["Deep Learning is not...", "Deep learning is..."],
    "raw_scores": False,
}


def gpus(*kinds: str) -> str:
    """Return the value of ``FAKE_GPUS`` for GPUs of these kinds, with UUIDs GPU-0000, GPU-0001, …"""
    return ";".join(f"GPU-{number:04}|{kind}" for number, kind in enumerate(kinds))


class Site:
    """A folder, its fleet and its containers."""

    def __init__(self, folder: Path, host: str, nvml: Path, kinds: tuple[str, ...] = (T4, T4)) -> None:
        self.folder = folder
        self.ports = free_ports(2)
        self.client = docker.DockerClient(base_url=host, timeout=60)
        self._status = FleetStatus()
        self.embedder, self.reranker = (Client(port) for port in self.ports)
        self.env = {
            "DOCKER_HOST": host,
            "LD_LIBRARY_PATH": str(nvml),
            "FAKE_GPUS": gpus(*kinds),
            "EMBEDFLEET_EMBEDDER_PORT": str(self.ports[0]),
            "EMBEDFLEET_RERANKER_PORT": str(self.ports[1]),
            "EMBEDFLEET_STOP_GRACE_S": "10",
        }

    def run(self, *arguments: str, code: int | None = 0, **env: str) -> subprocess.CompletedProcess[str]:
        """Run a verb to its end; its exit code must be ``code`` unless that is None."""
        done = subprocess.run(
            [*COMMAND, *arguments],
            cwd=self.folder,
            env=os.environ | self.env | env,
            capture_output=True,
            text=True,
            timeout=2 * LIMIT_S,
            check=False,
        )
        assert code is None or done.returncode == code, f"{done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def up(self, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        return self.run("up", "--detach", *arguments, **env)

    def begin(self, *arguments: str, **env: str) -> subprocess.Popen[str]:
        """Start ``up`` in the foreground without waiting."""
        return subprocess.Popen(
            [*COMMAND, "up", *arguments],
            cwd=self.folder,
            env=os.environ | self.env | env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def kill_controller(self) -> None:
        """Kill the controller with SIGKILL, as the kernel does when memory is short."""
        os.kill(json.loads((self.folder / ".embedfleet/fleet.json").read_text())["pid"], signal.SIGKILL)

    def down(self) -> None:
        self.run("down")

    @property
    def status(self) -> dict[str, Any]:
        """Output of `embedfleet status --json`."""
        status = self._status.ask(self.folder)
        return status or json.loads(self.run("status", "--json", code=None).stdout)

    def states(self, service: str) -> dict[str, str]:
        (found,) = [row for row in self.status["services"] if row["name"] == service]
        return {row["id"]: row["state"] for row in found["replicas"]}

    def until(self, what: str, reached: Callable[[], bool]) -> None:
        """Wait for a condition; on failure the message names it and shows the status."""
        deadline = time.monotonic() + 2 * LIMIT_S
        while not reached():
            if time.monotonic() > deadline:
                raise AssertionError(f"{what}: not in {2 * LIMIT_S} s\n{self.run('status', code=None).stdout}")

    def until_active(self, service: str, count: int = 2) -> None:
        self.until(
            f"{count} active replicas of {service}",
            lambda: list(self.states(service).values()) == ["active"] * count,
        )

    @property
    def containers(self) -> dict[str, str]:
        """Ids of all containers of the daemon by name, running or not."""
        # The package's own objects are not used: they ask for each container, which may be gone by then.
        return {row["Names"][0].lstrip("/"): row["Id"] for row in self.client.api.containers(all=True)}

    def inside(self, container: str, name: str) -> str:
        """Return a variable of a container's first process; the runtime names the container's GPU in one."""
        code = "import sys; print(dict(e.split('=', 1) for e in open('/proc/1/environ').read().split(chr(0)) if e)"
        code += ".get(sys.argv[1], ''))"
        return self.execute(container, "python3", "-c", code, name)

    def execute(self, container: str, *command: str) -> str:
        code, output = self.client.containers.get(container).exec_run(list(command))
        assert code == 0, output
        return output.decode().strip()

    def logs(self, container: str) -> str:
        return self.client.containers.get(container).logs().decode()

    def clean(self) -> None:
        """Remove everything, whatever the test did."""
        with contextlib.suppress(Exception):
            self.run("down", code=None)
        for container in self.client.containers.list(all=True):
            with contextlib.suppress(Exception):  # It may be ending already.
                container.remove(force=True)
        self.client.networks.prune()
        self.client.close()


@contextlib.contextmanager
def asking(client: Client, at_least: int) -> Iterator[list[Answer]]:
    """Run sixteen clients during the block and until ``at_least`` answers; yield the failed answers."""
    failed: list[Answer] = []
    numbers, over = itertools.count(), threading.Event()

    def ask_on() -> None:
        while (number := next(numbers)) < at_least or not over.is_set():
            try:
                answer = client.post("/embed", {"inputs": f"request number {number}"})
            except OSError as error:
                answer = Answer(0, {}, repr(error).encode())
            if answer.status != 200:
                failed.append(answer)
            over.wait(PAUSE_S)

    with ThreadPoolExecutor(16) as pool:
        work = [pool.submit(ask_on) for _ in range(16)]
        try:
            yield failed
        finally:
            over.set()
        for item in work:
            item.result(LIMIT_S)
