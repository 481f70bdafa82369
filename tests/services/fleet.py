"""A real fleet: `embedfleet up` in a separate folder, on free ports."""

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.services.engine import Client
from tests.services.fleet_status import EVERY_S, FleetStatus

LIMIT_S = 120
COMMAND = [sys.executable, "-m", "embedfleet"]


def free_ports(count: int) -> list[int]:
    """Free ports outside of the range from which the kernel takes ports for requests of any port.

    A replica asks for any port and must not get the one that its gateway is about to take.
    """
    found: list[int] = []
    while len(found) < count:
        port = random.SystemRandom().randrange(10_000, 30_000)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            found.append(port)
    return found


def run_cli(folder: Path, *arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run a verb to its end."""
    return subprocess.run(
        [*COMMAND, *arguments],
        cwd=folder,
        env=os.environ | (env or {}),
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )


class Fleet:
    """A running fleet of a folder."""

    def __init__(self, folder: Path, ports: list[int], process: subprocess.Popen[str]) -> None:
        self.folder = folder
        self.process = process
        self.embedder, self.reranker = (Client(port) for port in ports)
        self._status = FleetStatus()

    @property
    def status(self) -> dict[str, Any]:
        """Output of `embedfleet status --json`."""
        return self._status.ask(self.folder) or json.loads(run_cli(self.folder, "status", "--json").stdout)

    @property
    def pids(self) -> list[int]:
        """Process ids of all children."""
        services = self.status["services"]
        rows = [row for service in services for row in (service["gateway"], *service["replicas"])]
        return [row["pid"] for row in rows if row["pid"]]

    def replicas(self, service: str) -> list[dict[str, Any]]:
        (found,) = [row for row in self.status["services"] if row["name"] == service]
        return found["replicas"]

    def until_active(self, service: str, restarts: int) -> None:
        """Wait until all replicas of a service serve and have had ``restarts`` restarts in all."""
        while True:
            rows = self.replicas(service)
            if all(row["state"] == "active" for row in rows) and sum(row["restarts"] for row in rows) >= restarts:
                return
            assert self.process.poll() is None, "the fleet ended"

    def until_tried(self, service: str) -> None:
        """Wait until no accused chunk is left, that is, none that a killed replica had and that waits for its trial."""
        while b"\nembedfleet_accused_chunks 0\n" not in getattr(self, service).get("/metrics").body:
            threading.Event().wait(EVERY_S)
            assert self.process.poll() is None, "the fleet ended"


def flags(ports: list[int]) -> list[str]:
    return ["--set", f"embedder.port={ports[0]}", "--set", f"reranker.port={ports[1]}"]


@contextmanager
def fleet(folder: Path, *arguments: str, env: dict[str, str] | None = None) -> Iterator[Fleet]:
    """Run a fleet that serves; Ctrl-C stops it at the end of the block."""
    ports = free_ports(2)
    process = subprocess.Popen(
        [*COMMAND, "up", *flags(ports), *arguments],
        cwd=folder,
        env=os.environ | (env or {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("embedder: "), process.communicate(timeout=LIMIT_S)[1]
        yield Fleet(folder, ports, process)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        process.communicate(timeout=LIMIT_S)


def is_alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
