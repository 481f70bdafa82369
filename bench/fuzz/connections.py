"""Hostile clients at a gateway or an engine beside checked requests: memory and event loop over time.

Everything but the server runs on the other core. A separate process sends the checked requests.
"""

import asyncio
import json
import sys
import time
from asyncio.subprocess import PIPE
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import orjson
import uvloop

from bench.fake_tei.processes import FakesPlan, running
from bench.measuring.memory import allow_connections, memory_kb
from bench.measuring.process import free_port, on_core, pinned, wait_for_port
from bench.measuring.report import say
from embedfleet.load.connections import Answer, LoadConnections
from embedfleet.simulation.batch_cost import BatchCost

MOST_GROWTH_KB = 5_000
MOST_P99 = 1.2
_SERVER, _OTHERS = 0, 1
_BODY_BYTES = 40_000_000
_RATE = 50
_PROBE_S = 0.02
_ROW_S = 5.0
# Time until abandoned memory is released and unclosed connections have timed out.
_SETTLE_S = 6.5
_TEXTS = [f"n=7|verified {number}|" for number in range(20)]
_CLOSE_ENOUGH = 1e-4
_COST = BatchCost(a_s=0.005, b_s=1e-9, batch_tokens=1_000_000)  # The subject is connections, not work.
_LARGE = {"query": "q", "texts": ["n=2500|" + "y" * 10_000] * 20, "return_text": True}
_MANY = b"GET /metrics HTTP/1.1\r\nHost: h\r\n\r\n" * 200


@dataclass(frozen=True)
class Plan:
    """The parameters of a run.

    Attributes:
        seconds: Length of the attack by hostile clients.
        counts: Number of hostile clients by kind (`bench.fuzz.hostile.KINDS`).
        engine: Whether the server is an engine with the built-in model instead of a gateway.
        seed: Seed of the clients' behaviour.
    """

    seconds: float
    counts: dict[str, int]
    engine: bool
    seed: int

    @property
    def calm_s(self) -> float:
        """Seconds of checked requests alone, before hostile clients come."""
        return max(2.0, self.seconds / 8)

    @property
    def elsewhere_s(self) -> float:
        """Seconds of hostile clients at another server, before they come to this one."""
        return max(2.0, self.seconds / 4)

    def order(self, seconds: float) -> bytes:
        """The input of `bench.fuzz.hostile` for an attack of some seconds, with the same rate of clients."""
        share = seconds / self.seconds
        large = _MANY if self.engine else _post("/rerank", _LARGE)
        counts = {kind: round(share * count) for kind, count in self.counts.items()}
        return orjson.dumps({"seconds": seconds, "seed": self.seed, "large": large.decode(), **counts})


@dataclass
class Seen:
    """Latencies of checked requests and of probes of the event loop, in seconds."""

    latencies: list[float] = field(default_factory=list)
    lags: list[float] = field(default_factory=list)
    failed: int = 0

    def p(self, share: float) -> float:
        """A percentile of the latencies, in milliseconds."""
        ordered = sorted(self.latencies)
        return round(1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))], 2) if ordered else 0.0

    def lag(self) -> float:
        """The longest probe, in milliseconds."""
        return round(1000 * max(self.lags, default=0.0), 1)


class Verified:
    """Checked requests at a steady rate, and probes of the event loop beside them."""

    def __init__(self, port: int) -> None:
        self._connections, self._probe = LoadConnections(port), LoadConnections(port)
        self._right: list[list[float]] = []
        self._is_probing = False
        self.row, self.all = Seen(), Seen()

    async def start(self) -> None:
        """Connect, and ask for the expected answers."""
        await self._connections.open(16)
        await self._probe.open(1)
        for text in _TEXTS:
            answer = await self._ask(_post("/embed", {"inputs": text}))
            if answer.status != 200:
                raise RuntimeError(f"{text!r} is answered {answer.status}: {answer.body[:200]!r}")
            self._right.append(orjson.loads(answer.body)[0])
        # As many requests as may wait behind a pause, so that an engine has the memory for such a batch from the start.
        await asyncio.gather(*(self._ask(_post("/embed", {"inputs": text})) for text in _TEXTS * 3))

    async def run(self) -> None:
        """Send requests until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(_each(1 / _RATE, self._send))
            group.create_task(_each(_PROBE_S, self._send_probe))

    def fresh(self) -> Seen:
        """The observations since the last call."""
        row, self.row = self.row, Seen()
        return row

    def _send(self, number: int) -> None:
        which = number % len(_TEXTS)
        sent = time.perf_counter()

        def taken(answer: Answer) -> None:
            for seen in (self.row, self.all):
                seen.latencies.append(time.perf_counter() - sent)
                seen.failed += not self._is_right(which, answer)

        self._connections.send(_post("/embed", {"inputs": _TEXTS[which]}), taken)

    def _send_probe(self, _number: int) -> None:
        if self._is_probing:
            return
        sent = time.perf_counter()

        def taken(_answer: Answer) -> None:  # an engine has no such route and answers 404 at once
            self._is_probing = False
            for seen in (self.row, self.all):
                seen.lags.append(time.perf_counter() - sent)

        self._is_probing = True
        self._probe.send(b"GET /livez HTTP/1.1\r\nHost: h\r\n\r\n", taken)

    def _is_right(self, which: int, answer: Answer) -> bool:
        if answer.status != 200:
            return False
        vector = orjson.loads(answer.body)[0]
        return all(abs(a - b) < _CLOSE_ENOUGH for a, b in zip(vector, self._right[which], strict=True))

    async def _ask(self, data: bytes) -> Answer:
        reply: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._connections.send(data, reply.set_result)
        return await reply


async def _each(interval_s: float, send: Callable[[int], None]) -> None:
    """Call a function at a steady rate; late calls come at once."""
    due = time.perf_counter()
    for number in count():
        send(number)
        due += interval_s
        await asyncio.sleep(max(0.0, due - time.perf_counter()))


def _post(path: str, value: object) -> bytes:
    body = orjson.dumps(value)
    head = f"POST {path} HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


@contextmanager
def _served(plan: Plan) -> Iterator[tuple[int, int, int]]:
    """Run the server and another one like it, and yield port and pid of the first and the port of the second.

    Both gateways have the same replica, so that it has the same work whichever gateway hostile clients attack.
    """
    with ExitStack() as stack:
        if plan.engine:
            command = ["engine", "--model", "builtin", "--worker-threads", "1"]
            command += ["--payload-limit-bytes", str(_BODY_BYTES)]
        else:
            fakes = stack.enter_context(running(FakesPlan(_COST, count=1), _OTHERS))
            command = ["gateway", "--replica", f"http://127.0.0.1:{fakes.ports[0]}", "--log-level", "warning"]
            command += ["--max-request-bytes", str(_BODY_BYTES)]
        (port, pid), (other_port, _) = (stack.enter_context(_server(command)) for _ in range(2))
        yield port, pid, other_port


@contextmanager
def _server(command: list[str]) -> Iterator[tuple[int, int]]:
    """Run a server, and yield its port and pid."""
    port = free_port()
    command = [sys.executable, "-m", "embedfleet", *command, "--host", "127.0.0.1", "--port", str(port)]
    with TemporaryDirectory() as folder, pinned(_SERVER, command, log=Path(folder) / "log") as process:
        wait_for_port(port, process, Path(folder) / "log")
        yield port, process.pid


def measure(plan: Plan) -> dict[str, Any]:
    """Perform a run, and return its series and its verdict."""
    allow_connections()
    with on_core(_OTHERS), _served(plan) as (port, pid, other_port):
        return uvloop.run(_measure(plan, port, pid, other_port))


async def _measure(plan: Plan, port: int, pid: int, other_port: int) -> dict[str, Any]:
    verified = Verified(port)
    await _until_it_serves(verified)
    going = asyncio.create_task(verified.run())
    series: list[dict[str, Any]] = []
    begun = time.monotonic()

    async def watch(seconds: float) -> Seen:
        """Observe for some time, and print a row every `_ROW_S` seconds."""
        verified.all = Seen()
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            await asyncio.sleep(min(_ROW_S, left))
            row = verified.fresh()
            series.append(
                {
                    "s": round(time.monotonic() - begun, 1),
                    "pss_kb": memory_kb(pid),
                    "lag_ms": row.lag(),
                    "p50_ms": row.p(0.5),
                    "p99_ms": row.p(0.99),
                    "failed": row.failed,
                }
            )
            say(" ".join(f"{key}={value}" for key, value in series[-1].items()))
        return verified.all

    await watch(1.0)
    calm = await watch(plan.calm_s)
    start_kb, own_start_kb = memory_kb(pid), memory_kb(pid, "Pss_Anon")
    elsewhere, _ = await _beset(other_port, plan.order(plan.elsewhere_s), watch(plan.elsewhere_s))
    await watch(_SETTLE_S)
    rough, done = await _beset(port, plan.order(plan.seconds), watch(plan.seconds))
    after = await watch(_SETTLE_S)
    going.cancel()
    end_kb, own_end_kb = memory_kb(pid), memory_kb(pid, "Pss_Anon")
    failed = sum(row["failed"] for row in series)
    ratio = round(rough.p(0.99) / elsewhere.p(0.99), 3)
    return {
        "done": done,
        "pss_start_kb": start_kb,
        "pss_most_kb": max(row["pss_kb"] for row in series),
        "pss_end_kb": end_kb,
        "pss_anon_start_kb": own_start_kb,
        "pss_anon_end_kb": own_end_kb,
        "lag_most_ms": rough.lag(),
        "lag_elsewhere_ms": elsewhere.lag(),
        "lag_calm_ms": calm.lag(),
        "p99_calm_ms": calm.p(0.99),
        "p99_elsewhere_ms": elsewhere.p(0.99),
        "p99_ms": rough.p(0.99),
        "p99_after_ms": after.p(0.99),
        "p99_over_calm": round(rough.p(0.99) / calm.p(0.99), 3),
        "p99_over_elsewhere": ratio,
        "failed": failed,
        # Not Pss as a whole: libraries and weights count more once no other process maps them.
        "is_memory_back": own_end_kb - own_start_kb <= MOST_GROWTH_KB,
        "is_p99_kept": ratio <= MOST_P99,
        "series": series,
    }


async def _beset(port: int, order: bytes, watching: Awaitable[Seen]) -> tuple[Seen, dict[str, int]]:
    """Attack a port with hostile clients; return the observations and the number of clients of each kind."""
    command = ["nice", "-n", "10", sys.executable, "-m", "bench.fuzz.hostile", str(port)]
    hostile = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE)
    try:
        told = asyncio.create_task(hostile.communicate(order))
        seen = await watching
        return seen, json.loads((await told)[0])
    finally:
        if hostile.returncode is None:
            hostile.kill()


async def _until_it_serves(verified: Verified) -> None:
    """Wait until the server answers; a gateway's replica must infer first."""
    for _ in range(100):
        try:
            return await verified.start()
        except RuntimeError as error:
            last = error
            await asyncio.sleep(0.1)
    raise last
