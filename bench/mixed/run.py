"""One run: replicas, a front door, a schedule, and the outcome."""

import asyncio
import signal
import subprocess
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import orjson
import uvloop

from bench.contestants import Contestant, Site
from bench.fake_tei.cost import measured_cost
from bench.fake_tei.oracle import FakeOracle
from bench.fake_tei.processes import Fakes, FakesPlan, running
from bench.measuring.process import free_port, pinned, take_core, wait_for_port
from embedfleet.errors import UpstreamError
from embedfleet.http.client import fetch
from embedfleet.load.generator import Generator
from embedfleet.load.plan import PlannedRequest, planned
from embedfleet.load.tally import Objective, Outcome, summary
from embedfleet.load.workload import exact_arrivals
from embedfleet.simulation.batch_cost import BatchCost

DOOR_CORE, LOAD_CORE = 0, 1
_READY_S = 30.0


@dataclass(frozen=True, slots=True)
class RunPlan:
    """The parameters of a run.

    Attributes:
        contestant: Front door.
        split: Texts per call into which clients split batches; 0 for whole batches.
        workload: Name of a workload in `embedfleet.load.workload.WORKLOADS`.
        load: Offered tokens divided by the tokens that the replicas compute with full batches.
        seed: Seed of the schedule.
        warm_up_s: Length of the warm-up; its requests are checked but not measured.
        seconds: Measured seconds.
        settle_s: Longest wait for the last answers, in seconds.
        count: Number of replicas.
        apart: Whether each replica has its own process.
        client_batch: Maximum number of texts in a call; None for the contestant's number.
        permits: Maximum number of texts that a replica accepts at once.
        retries_refused: Whether refused requests are sent again after Retry-After.
        objective: Latencies up to which an answer is useful.
        cost: Cost of a replica's batch; None for that of the workload.
    """

    contestant: Contestant
    split: int
    workload: str
    load: float
    seed: int
    warm_up_s: float
    seconds: float
    settle_s: float = 20.0
    count: int = 4
    apart: bool = False
    client_batch: int | None = None
    permits: int = 512
    retries_refused: bool = False
    objective: Objective = field(default_factory=Objective)
    cost: BatchCost | None = None

    @property
    def batch_cost(self) -> BatchCost:
        """Cost of a replica's batch."""
        return self.cost or measured_cost(self.workload)

    @property
    def capacity(self) -> float:
        """Tokens per second of all replicas with full batches."""
        return self.batch_cost.tokens_per_s * self.count

    def fakes(self) -> FakesPlan:
        """The plan of the replicas."""
        return FakesPlan(
            cost=self.batch_cost,
            client_batch=self.contestant.client_batch if self.client_batch is None else self.client_batch,
            permits=self.permits,
            count=self.count,
            kind="reranker" if self.workload == "rerank" else "embedding",
            apart=self.apart,
        )


@dataclass(slots=True)
class Stage:
    """The running parts of a run, for faults to act upon."""

    fakes: Fakes
    site: Site
    contestant: Contestant
    door: "subprocess.Popen[bytes]"

    async def reload(self) -> bool:
        """Make the front door reload its list of replicas; False if it cannot."""
        if self.contestant.reload_signal:
            self.door.send_signal(signal.Signals(self.contestant.reload_signal))
            return True
        return await self.set_members(range(len(self.site.replicas)))

    async def set_members(self, numbers: Sequence[int]) -> bool:
        """Set the replicas of our gateway; False if the front door is not ours. Removed replicas finish their work."""
        if not self.site.admin.exists():
            return False
        ports = [self.site.replicas[number] for number in numbers]
        members = [{"id": f"r{port}", "url": f"http://127.0.0.1:{port}"} for port in ports]
        url = f"http+unix://{self.site.admin}:/replicas"
        reply = await fetch(url, method="PUT", body=orjson.dumps(members), timeout_s=10)
        return reply.status == 200

    async def drain(self, number: int, *, back: bool) -> bool:
        """Drain a replica until it is idle, or undrain it until it serves; False if the front door is not ours."""
        if not self.site.admin.exists():
            return False
        name = f"r{self.site.replicas[number]}"
        url = f"http+unix://{self.site.admin}:/replicas"
        await fetch(f"{url}/{name}/{'undrain' if back else 'drain'}", method="POST", timeout_s=10)
        wanted = "active" if back else "drained"
        async with asyncio.timeout(_READY_S):
            while wanted not in [row["state"] for row in await self._rows(url) if row["id"] == name]:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        return True

    async def _rows(self, url: str) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = orjson.loads((await fetch(url, timeout_s=10)).body)
        return rows


Meanwhile = Callable[[Stage], Awaitable[None]]


async def _nothing(_: Stage) -> None:
    return


@dataclass(slots=True)
class RunResult:
    """Outcomes of all requests and the figures made of them."""

    outcomes: list[Outcome]
    figures: dict[str, Any]


@lru_cache(maxsize=1)  # All contestants get the same schedule in turn.
def schedule(
    workload: str, load: float, capacity: float, seconds: float, seed: int, split: int
) -> list[PlannedRequest]:
    """The planned requests of a run."""
    return planned(exact_arrivals(workload, load, capacity, seconds, seed), FakeOracle(), seed, split)


def run(plan: RunPlan, meanwhile: Meanwhile = _nothing) -> RunResult:
    """Perform a run, with ``meanwhile`` beside the schedule from its start.

    Raises:
        RuntimeError: The front door does not start or never reaches a replica.
    """
    take_core(LOAD_CORE)
    seconds = plan.warm_up_s + plan.seconds
    requests = schedule(plan.workload, plan.load, plan.capacity, seconds, plan.seed, plan.split)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mixed-")))
        folder.chmod(0o755)  # The worker of an nginx that root starts runs as the user nobody.
        fakes = stack.enter_context(running(plan.fakes(), LOAD_CORE))
        site = Site(free_port(), fakes.ports, folder)
        site.config.write_text(plan.contestant.config(site))
        log = folder / "door.log"
        door = stack.enter_context(pinned(DOOR_CORE, plan.contestant.command(site), log=log))
        wait_for_port(site.port, door, log)
        stage = Stage(fakes, site, plan.contestant, door)
        return uvloop.run(_measure(plan, requests, stage, meanwhile))


async def _measure(plan: RunPlan, requests: list[PlannedRequest], stage: Stage, meanwhile: Meanwhile) -> RunResult:
    await until_ready(stage.site.port)
    generator = Generator(requests, stage.site.port, settle_s=plan.settle_s, retries_refused=plan.retries_refused)
    beside = asyncio.ensure_future(meanwhile(stage))
    try:
        outcomes = await generator.run()
        await beside
    finally:
        beside.cancel()
    stats, log = await stage.fakes.stats(), await stage.fakes.log()
    figures = summary(
        outcomes,
        seconds=plan.warm_up_s + plan.seconds,
        warm_up_s=plan.warm_up_s,
        capacity=plan.capacity,
        objective=plan.objective,
        replicas_late_s=[late for replica in stats for late in replica["late_s"]],
    )
    names = [name for name, _, _ in log if name.startswith(f"{plan.seed}.")]  # without those of probes
    figures["computed_again"] = len(names) - len(set(names))
    figures["dropped"] = sum(replica["dropped"] for replica in stats)
    return RunResult(outcomes, figures)


async def until_ready(port: int) -> None:
    """Wait until a text is answered, because a front door may have to find its replicas first.

    Raises:
        RuntimeError: No text is answered.
    """
    url, body = f"http://127.0.0.1:{port}/embed", b'{"inputs":"n=1|ready|"}'
    try:
        async with asyncio.timeout(_READY_S):
            while True:
                try:
                    reply = await fetch(
                        url, method="POST", body=body, headers=[(b"content-type", b"application/json")], timeout_s=5
                    )
                    if reply.status == 200:
                        return
                except UpstreamError:
                    pass
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise RuntimeError(f"no text is answered on port {port} within {_READY_S:g} s") from None
