"""One run of a front door, with replicas that die, clients that send poison, and clients that check answers."""

import asyncio
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import orjson

from bench.contestants import Contestant, Site
from bench.fake_tei.mortal import Mortal, mortal
from bench.fake_tei.oracle import FakeOracle, text_of
from bench.measuring.memory import memory_kb
from bench.measuring.process import free_port, pinned, take_core, wait_for_port
from bench.measuring.report import say
from bench.mixed.run import DOOR_CORE, LOAD_CORE, until_ready
from bench.poison.series import Seen
from embedfleet.errors import UpstreamError
from embedfleet.http.client import fetch
from embedfleet.http.message import JSON
from embedfleet.load.generator import Generator
from embedfleet.load.plan import planned
from embedfleet.load.workload import Arrival

_MARKER = "poison-"
_REPLICAS = 4
_TOKENS = 20  # in a text
_TIMEOUT_S = 60.0  # for a poisonous request
_LAG_EVERY_S, _PSS_EVERY_S, _SAY_EVERY_S = 0.1, 1.0, 10.0


@dataclass(frozen=True, slots=True)
class PoisonPlan:
    """The parameters of a run.

    Attributes:
        bodies: Number of poisonous bodies, each with its own client.
        times: Number of times that each body is sent.
        every_s: Seconds from the start of one client to the next.
        texts: Number of texts in a poisonous request; the last one is poison.
        pause_s: Pause of a poisonous client between an answer and its next request, in seconds.
        back_s: Seconds from a replica's death to its restart.
        rate: Checked requests per second.
    """

    bodies: int = 10
    times: int = 100
    every_s: float = 10.0
    texts: int = 1
    pause_s: float = 0.0
    back_s: float = 5.0
    rate: float = 50.0

    @property
    def seconds(self) -> float:
        """Length of the run, in seconds; it ends two intervals after the last client has started."""
        return (self.bodies + 1) * self.every_s

    def arrivals(self) -> list[Arrival]:
        """Arrivals of the checked requests."""
        return [Arrival(n, n / self.rate, "online", (_TOKENS,)) for n in range(int(self.seconds * self.rate))]

    def body(self, number: int) -> bytes:
        """A poisonous body."""
        texts = [text_of(f"p{number}.{place}", _TOKENS) for place in range(self.texts)]
        texts[-1] += f"a text with {_MARKER}{number} in it"
        return orjson.dumps({"inputs": texts[0] if self.texts == 1 else texts})


async def run(plan: PoisonPlan, contestant: Contestant) -> Seen:
    """Run one front door.

    Raises:
        RuntimeError: The front door does not start or never reaches a replica.
    """
    take_core(LOAD_CORE)
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(_folder())
        flags = ("--poison", _MARKER, "--client-batch", str(contestant.client_batch))
        replicas = [await stack.enter_async_context(mortal(*flags, back_s=plan.back_s)) for _ in range(_REPLICAS)]
        site = Site(free_port(), tuple(replica.port for replica in replicas), folder)
        site.config.write_text(contestant.config(site))
        log = folder / "door.log"
        door = stack.enter_context(pinned(DOOR_CORE, contestant.command(site), log=log))
        await asyncio.to_thread(wait_for_port, site.port, door, log)
        await until_ready(site.port)
        return await _watch(plan, site, replicas, door)


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="poison-") as folder:
        Path(folder).chmod(0o755)  # The worker of an nginx that root starts runs as the user nobody.
        yield Path(folder)


async def _watch(plan: PoisonPlan, site: Site, replicas: list[Mortal], door: "subprocess.Popen[bytes]") -> Seen:
    generator = Generator(planned(plan.arrivals(), FakeOracle(), seed=1), site.port, settle_s=20.0)
    started = time.monotonic()
    seen = Seen(plan.seconds, plan.bodies, (), ())
    beside = [_look(seen, door.pid, started), _tell(seen, replicas)]
    beside += [_lag(seen, site.port, started)] if site.admin.exists() else []
    beside += [_poison(plan, number, seen, site.port, started) for number in range(plan.bodies)]
    tasks = [asyncio.ensure_future(one) for one in beside]
    try:
        seen.outcomes = await generator.run()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    seen.histories = [[(at - started, serving) for at, serving in replica.history] for replica in replicas]
    return seen


async def _poison(plan: PoisonPlan, number: int, seen: Seen, port: int, started: float) -> None:
    """Run a client that sends its poison again after every answer."""
    await asyncio.sleep(number * plan.every_s)
    url, body = f"http://127.0.0.1:{port}/embed", plan.body(number)
    for _ in range(plan.times):
        at = time.monotonic() - started
        try:
            status = str((await fetch(url, method="POST", body=body, headers=[JSON], timeout_s=_TIMEOUT_S)).status)
        except UpstreamError as error:
            status = type(error).__name__.lower()
        seen.poisonous.append((at, status))
        await asyncio.sleep(plan.pause_s)


async def _look(seen: Seen, pid: int, started: float) -> None:
    while True:
        seen.pss_mb.append((time.monotonic() - started, round(memory_kb(pid) / 1024, 2)))
        await asyncio.sleep(_PSS_EVERY_S)


async def _lag(seen: Seen, port: int, started: float) -> None:
    while True:
        asked = time.monotonic()
        await fetch(f"http://127.0.0.1:{port}/livez", timeout_s=_TIMEOUT_S)
        seen.lags.append((asked - started, time.monotonic() - asked))
        await asyncio.sleep(_LAG_EVERY_S)


async def _tell(seen: Seen, replicas: list[Mortal]) -> None:
    while True:
        await asyncio.sleep(_SAY_EVERY_S)
        died, serving = sum(one.deaths for one in replicas), sum(one.serving for one in replicas)
        say(f"  {died} deaths, {serving} of {len(replicas)} serve, {len(seen.poisonous)} poisonous requests answered")
