"""``python -m bench.port``: refused connections, lost answers and latencies while a gateway is killed and reloaded.

``embedfleet up`` starts a fleet of two builtin replicas in a temporary folder. Requests are due at fixed times; every
other one keeps its connection for later ones. First the gateway is killed with SIGKILL several times, then
``embedfleet reload`` runs several times, in turns with the same and with another setting. ``--before CHECKOUT`` also
kills the gateway of another version.
"""

import argparse
import asyncio
import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.measuring.process import free_port
from bench.measuring.report import missing, report, say
from bench.measuring.versions import environment, versions

_BODY = b'{"inputs":"What is Deep Learning?"}'
_HEAD = b"POST /embed HTTP/1.1\r\nhost: h\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(_BODY)
_LIMIT_S = 60.0

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass(slots=True)
class Seen:
    """The outcomes of the requests of one part.

    Attributes:
        refused: Number of refused connections.
        lost: Number of requests whose connection ended before the answer.
        failed: Number of answers other than 200.
        on_the_way: Number of unanswered requests at each kill or reload; for a kill, also of those that began before
            the process had ended.
        latencies_s: Latencies of requests answered with 200, in seconds, since they were due.
    """

    refused: int = 0
    lost: int = 0
    failed: int = 0
    on_the_way: list[int] = field(default_factory=list)
    latencies_s: list[float] = field(default_factory=list)

    def result(self) -> dict[str, Any]:
        """The outcomes in the form of the report."""
        ordered = sorted(self.latencies_s)
        at = {name: round(1000 * ordered[int(share * (len(ordered) - 1))], 1) for name, share in _SHARES.items()}
        return {
            "answered": len(ordered),
            "refused": self.refused,
            "lost": self.lost,
            "failed": self.failed,
            "on_the_way": sum(self.on_the_way),
            "blows": len(self.on_the_way),
        } | at


_SHARES = {"p50_ms": 0.5, "p99_ms": 0.99, "max_ms": 1.0}


class Clients:
    """Clients that send requests to one port at fixed times."""

    def __init__(self, port: int, rate: float) -> None:
        self.seen = Seen()
        self._port = port
        self._rate = rate
        self._kept: list[Streams] = []
        self._open = 0
        self._begun = 0

    def note_blow(self) -> None:
        """Record the number of requests in progress at a kill or reload."""
        self.seen.on_the_way.append(self._open)

    async def kill(self, pid: int) -> None:
        """Kill a gateway; its sockets stay open until it has ended, some milliseconds later."""
        self.note_blow()
        begun = self._begun
        os.kill(pid, signal.SIGKILL)
        await asyncio.to_thread(_wait_for_end, pid)
        self.seen.on_the_way[-1] += self._begun - begun

    async def run(self, over: asyncio.Event) -> None:
        """Send requests until ``over`` is set, and wait for the answers."""
        loop = asyncio.get_running_loop()
        started, tasks, number = loop.time(), [], 0
        while not over.is_set():
            due = started + number / self._rate
            await asyncio.sleep(max(0.0, due - loop.time()))
            tasks.append(asyncio.create_task(self._ask(due, keeps=number % 2 == 0)))
            number += 1
        await asyncio.gather(*tasks)
        for _, writer in self._kept:
            writer.close()

    async def _ask(self, due: float, *, keeps: bool) -> None:
        self._open += 1
        self._begun += 1
        try:
            streams = (self._take_kept() if keeps else None) or await self._connect()
            if streams is not None:
                await self._exchange(streams, due, keeps=keeps)
        finally:
            self._open -= 1

    def _take_kept(self) -> Streams | None:
        """Take a kept connection that is not known to be closed, as connection pools do."""
        while self._kept:
            reader, writer = self._kept.pop()
            if not reader.at_eof() and not writer.is_closing():
                return reader, writer
            writer.close()
        return None

    async def _connect(self) -> Streams | None:
        try:
            return await asyncio.open_connection("127.0.0.1", self._port)
        except OSError:
            self.seen.refused += 1
            return None

    async def _exchange(self, streams: Streams, due: float, *, keeps: bool) -> None:
        reader, writer = streams
        try:
            writer.write(_HEAD + _BODY)
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = int(head.partition(b"content-length:")[2].split(b"\r\n")[0])
            await reader.readexactly(length)
        except (OSError, asyncio.IncompleteReadError):
            self.seen.lost += 1
            writer.close()
            return
        if head.startswith(b"http/1.1 200 "):
            self.seen.latencies_s.append(asyncio.get_running_loop().time() - due)
        else:
            self.seen.failed += 1
        if keeps and b"connection: close" not in head:
            self._kept.append(streams)
        else:
            writer.close()


def _wait_for_end(pid: int) -> None:
    """Wait until a process has ended, and its sockets with it."""
    with contextlib.suppress(ProcessLookupError):
        ended = os.pidfd_open(pid)
        select.select([ended], [], [])
        os.close(ended)


class Fleet:
    """A fleet of one service.

    Args:
        folder: Folder of its settings.
        source: Source folder in which Python looks for embedfleet first.
    """

    def __init__(self, folder: Path, source: Path) -> None:
        self.port = free_port()
        self._folder = folder
        self._env = environment(source)
        self.set(4096)

    def set(self, texts: int) -> None:
        """Write settings that differ in one number."""
        (self._folder / "fleet.toml").write_text(
            f"[services.embedder]\nport = {self.port}\nmodel = 'builtin'\nmax_request_texts = {texts}\n"
            "[services.reranker]\nenabled = false\n"
        )

    def run(self, *verb: str, most: int = 0) -> str:
        """Run a verb to its end.

        Raises:
            RuntimeError: The exit code is larger than ``most``.
        """
        command = [sys.executable, "-P", "-m", "embedfleet", *verb]
        done = subprocess.run(command, cwd=self._folder, env=self._env, capture_output=True, text=True, check=False)
        if done.returncode > most:
            raise RuntimeError(f"{' '.join(verb)}: {done.stderr}")
        return done.stdout

    def gateway(self) -> int:
        """The gateway's process id; ``status`` exits with 1 until every replica has inferred for this gateway."""
        return int(json.loads(self.run("status", "--json", most=1))["services"][0]["gateway"]["pid"])


@contextlib.contextmanager
def fleet(source: Path) -> Iterator[Fleet]:
    """Run a fleet; it serves when the block begins."""
    with tempfile.TemporaryDirectory(prefix="port-") as folder:
        made = Fleet(Path(folder), source)
        made.run("up", "--detach")
        try:
            yield made
        finally:
            made.run("down")


async def part(
    port: int, rate: float, blows: int, every_s: float, blow: Callable[[Clients, int], Awaitable[None]]
) -> Seen:
    """Send requests to a port and kill or reload the gateway behind it at intervals."""
    clients, over = Clients(port, rate), asyncio.Event()
    running = asyncio.create_task(clients.run(over))
    for number in range(blows):
        await asyncio.sleep(every_s)
        await blow(clients, number)
    await asyncio.sleep(every_s)
    over.set()
    async with asyncio.timeout(_LIMIT_S):
        await running
    return clients.seen


def kills(source: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Kill the gateway at intervals."""
    with fleet(source) as made:

        async def kill(clients: Clients, _number: int) -> None:
            await clients.kill(await asyncio.to_thread(made.gateway))

        return asyncio.run(part(made.port, options.rate, options.kills, options.every_s, kill)).result()


def reloads(source: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Reload the gateway at intervals, in turns with the same and with other settings."""
    with fleet(source) as made:

        async def reload(clients: Clients, number: int) -> None:
            clients.note_blow()
            made.set(4096 - number // 2)
            await asyncio.to_thread(made.run, "reload")

        return asyncio.run(part(made.port, 2 * options.rate, options.reloads, options.every_s / 4, reload)).result()


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.port", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rate", type=float, default=100.0, help="requests per second; twice as many for reloads")
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--reloads", type=int, default=20)
    parser.add_argument(
        "--every-s", type=float, default=4.0, help="seconds between kills; a quarter of that between reloads"
    )
    parser.add_argument("--before", type=Path, metavar="CHECKOUT", help="checkout whose gateway is killed as well")
    options = parser.parse_args()
    if options.rate <= 0:
        missing(f"--rate is {options.rate:g}, but must be above 0", "give a number of requests per second, such as 100")
    mine = Path(__file__).resolve().parent.parent / "src"
    runs = {"kills": kills(mine, options)}
    say(f"kill -9: {runs['kills']}")
    if options.before:
        runs["kills_before"] = kills(versions(options.before)[1], options)
        say(f"kill -9, before: {runs['kills_before']}")
    runs["reloads"] = reloads(mine, options)
    say(f"reload: {runs['reloads']}")
    report(runs=runs, rate=options.rate, at=time.strftime("%Y-%m-%d"))


if __name__ == "__main__":
    main()
