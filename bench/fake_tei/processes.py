"""Fake replicas as processes that a benchmark starts, controls and kills."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import orjson

from bench.measuring.process import pinned
from embedfleet.http.client import fetch
from embedfleet.simulation.batch_cost import BatchCost

ANY_BATCH = 1_000_000
ANY_BYTES = 256_000_000
_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class FakesPlan:
    """The fake replicas of a run.

    Attributes:
        cost: Cost of a batch.
        client_batch: Maximum number of texts in a call.
        payload_bytes: Size of the largest body.
        permits: Maximum number of texts that a replica accepts at once.
        count: Number of replicas.
        kind: Kind of the model.
        apart: Whether each has its own process, so that one can be stopped or killed.
    """

    cost: BatchCost
    client_batch: int = ANY_BATCH
    payload_bytes: int = ANY_BYTES
    permits: int = 512
    count: int = 4
    kind: str = "embedding"
    apart: bool = False

    def command(self, ports: Sequence[int], admin: int) -> list[str]:
        """Command line of one process; port 0 stands for a free port."""
        settings = {
            "--ports": ",".join(map(str, ports)),
            "--admin-port": admin,
            "--kind": self.kind,
            "--a-ms": self.cost.a_s * 1000,
            "--tokens-per-s": 1 / self.cost.b_s,
            "--batch-tokens": self.cost.batch_tokens,
            "--client-batch": self.client_batch,
            "--payload-bytes": self.payload_bytes,
            "--permits": self.permits,
        }
        flags = [str(part) for pair in settings.items() for part in pair]
        return [sys.executable, "-m", "bench.fake_tei", *flags, *(["--padded"] if self.cost.padded else [])]


@dataclass(slots=True)
class _Process:
    popen: "subprocess.Popen[bytes]"
    ports: list[int]
    admin: int


class Fakes:
    """Fake replicas of a run, made by ``with running(...)``."""

    def __init__(self, plan: FakesPlan, core: int, stack: ExitStack) -> None:
        self._plan = plan
        self._core = core
        self._stack = stack
        per_process = 1 if plan.apart else plan.count
        self._per_process = per_process
        self._processes = [self._start([0] * per_process, 0) for _ in range(plan.count // per_process)]

    @property
    def ports(self) -> tuple[int, ...]:
        """Ports of all replicas."""
        return tuple(port for process in self._processes for port in process.ports)

    @property
    def count(self) -> int:
        """Number of replicas."""
        return self._plan.count

    async def stats(self) -> list[dict[str, Any]]:
        """Counts of all replicas.

        Raises:
            UpstreamError: A process does not answer.
        """
        found: list[dict[str, Any]] = []
        for process in self._processes:
            reply = await fetch(f"http://127.0.0.1:{process.admin}/stats", timeout_s=_TIMEOUT_S)
            found += orjson.loads(reply.body)
        return found

    async def log(self) -> list[tuple[str, int, float]]:
        """Name, replica and time of every computed text."""
        found: list[tuple[str, int, float]] = []
        for number, process in enumerate(self._processes):
            reply = await fetch(f"http://127.0.0.1:{process.admin}/log", timeout_s=_TIMEOUT_S)
            first = number * self._per_process
            found += [(name, first + replica, at) for name, replica, at in orjson.loads(reply.body)]
        return found

    async def order(self, replica: int, **fault: object) -> None:
        """Order a fault of a replica.

        Args:
            replica: Number of the replica.
            fault: Fields of `bench.fake_tei.faults.Fault`.

        Raises:
            ValueError: The replica refused the order.
        """
        process = self._processes[replica // self._per_process]
        body = orjson.dumps({"replica": replica % self._per_process, **fault})
        url = f"http://127.0.0.1:{process.admin}/fault"
        reply = await fetch(url, method="POST", body=body, timeout_s=_TIMEOUT_S)
        if reply.status != 204:
            raise ValueError(reply.body.decode())

    def stop(self, replica: int) -> None:
        """Send SIGSTOP; needs a process per replica."""
        self._alone(replica).popen.send_signal(signal.SIGSTOP)

    def go_on(self, replica: int) -> None:
        """Send SIGCONT."""
        self._alone(replica).popen.send_signal(signal.SIGCONT)

    def kill(self, replica: int) -> None:
        """Send SIGKILL; needs a process per replica."""
        process = self._alone(replica).popen
        process.kill()
        process.wait()

    def restart(self, replica: int) -> None:
        """Start a killed replica again on the same ports."""
        old = self._alone(replica)
        self._processes[replica] = self._start(old.ports, old.admin)

    def _alone(self, replica: int) -> _Process:
        if self._per_process != 1:
            raise ValueError("the replicas share a process: set `apart` in their plan")
        return self._processes[replica]

    def _start(self, ports: list[int], admin: int) -> _Process:
        popen = self._stack.enter_context(pinned(self._core, self._plan.command(ports, admin), stdout=subprocess.PIPE))
        assert popen.stdout is not None
        line = popen.stdout.readline()
        if not line:
            raise RuntimeError(f"the fake replicas ended at once, exit code {popen.wait()}")
        told = json.loads(line)
        return _Process(popen, told["ports"], told["admin"])


@contextmanager
def running(plan: FakesPlan, core: int) -> Iterator[Fakes]:
    """Run fake replicas; they answer when the block begins."""
    with ExitStack() as stack:
        fakes = Fakes(plan, core, stack)
        try:
            yield fakes
        finally:
            for process in fakes._processes:  # noqa: SLF001 - a stopped process would not end
                if process.popen.poll() is None:
                    process.popen.send_signal(signal.SIGCONT)
