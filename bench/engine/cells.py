"""Closed loops of clients against a server, at each cell of clients x texts per request."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.engine.contestants import Server

if TYPE_CHECKING:
    from bench.engine.texts import Texts

SERVER_CORE, CLIENT_CORE = 0, 1


@dataclass(frozen=True, slots=True)
class Cell:
    """A number of clients and of texts per request: real paragraphs, or texts of mixed length."""

    clients: int
    texts: int
    mixed: bool = False

    @property
    def name(self) -> str:
        """Name in tables."""
        return f"{self.clients}x{self.texts}{' mixed' if self.mixed else ''}"


QUICK = (Cell(1, 1), Cell(16, 1), Cell(4, 32))
WHOLE = (*(Cell(clients, texts) for texts in (1, 32) for clients in (1, 4, 16)), Cell(1, 32, mixed=True))
PAIRED = (Cell(1, 1), Cell(16, 1), Cell(1, 32), Cell(1, 32, mixed=True))
"""Cells that are short enough for many rounds; in the largest other cell, one answer per client takes too long."""


@dataclass(frozen=True, slots=True)
class Rate:
    """The result of one loop.

    Attributes:
        tokens_per_s: Tokens per second of real time, as the model reads the texts.
        lengths: Tokens of each embedded text.
        elapsed_s: Real time, in seconds.
        cpu_s: CPU time of the servers' processes, in seconds.
    """

    tokens_per_s: float
    lengths: Sequence[int]
    elapsed_s: float
    cpu_s: float


def measure(servers: Sequence[Server], cell: Cell, texts: "Texts", seconds: float) -> Rate:
    """Load every server with the cell's clients, until the last request begun in time has ended."""
    return asyncio.run(_measure(servers, cell, texts, seconds))


async def _measure(servers: Sequence[Server], cell: Cell, texts: "Texts", seconds: float) -> Rate:
    pool = texts.mixed if cell.mixed else texts.real
    lengths: list[int] = []
    place = 0
    cpu_before = sum(server.cpu_s() for server in servers)
    started = time.perf_counter()

    async def client(server: Server) -> None:
        nonlocal place
        async with server.connection() as ask:
            while time.perf_counter() - started < seconds:
                mine = [pool[(place + number) % len(pool)] for number in range(cell.texts)]
                place += cell.texts
                await ask(mine)
                lengths.extend(texts.tokens[text] for text in mine)

    await asyncio.gather(*(client(server) for server in servers for _ in range(cell.clients)))
    elapsed = time.perf_counter() - started
    cpu = sum(server.cpu_s() for server in servers) - cpu_before
    return Rate(sum(lengths) / elapsed, lengths, elapsed, cpu)
