"""Measurement of all contestants in all cells, round by round, and of two engines on two cores."""

import asyncio
import statistics
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np

from bench.engine import cells, figures
from bench.engine.cells import CLIENT_CORE, SERVER_CORE
from bench.engine.contestants import Server, infinity_emb, our_engine, sentence_transformers
from bench.engine.peak import Sampling
from bench.engine.plain import Plain
from bench.engine.texts import Texts
from bench.measuring.process import on_core
from bench.measuring.report import say

_TOLERANCE = 1e-3
_RIVALS = {"infinity": infinity_emb, "sentence-transformers": sentence_transformers}
Venvs = Mapping[str, str | None]
"""Virtual environment of each rival by name; None for one that is not installed."""


def measure(venvs: Venvs, wanted: Sequence[cells.Cell], rounds: int, seconds: float) -> dict[str, dict[str, list[Any]]]:
    """Rates of each round by contestant and cell, and tokens per second of the plain loop."""
    texts, plain = Texts(), Plain()
    found: dict[str, dict[str, list[Any]]] = defaultdict(lambda: defaultdict(list))
    with on_core(CLIENT_CORE), _contestants(venvs, texts, plain) as servers:
        for number in range(rounds):
            say(f"round {number + 1} of {rounds}")
            for cell in wanted:
                found["plain"][cell.name].append(plain.measure(texts, min(seconds, 2.0), SERVER_CORE))
                for server in servers:
                    found[server.name][cell.name].append(cells.measure([server], cell, texts, seconds))
    return found


def of_peak(cell: cells.Cell, rounds: int, seconds: float) -> float:
    """Operations on real tokens per second of our server's CPU time, over the core's peak at that time."""
    texts, ratios = Texts(), []
    with our_engine(SERVER_CORE) as server, on_core(CLIENT_CORE):
        for _ in range(rounds):
            with Sampling(SERVER_CORE) as sampling:
                rate = cells.measure([server], cell, texts, seconds)
            ratios.append(figures.operations_per_s(rate) / sampling.peak)
    return statistics.median(ratios)


def two_over_one(rounds: int, seconds: float) -> float:
    """Tokens per second of two engines over those of one; the client is not bound to a core."""
    texts, ratios = Texts(), []
    with our_engine(0) as first, our_engine(1) as second:
        for _ in range(rounds):
            before = cells.measure([first], cells.Cell(4, 32), texts, seconds)
            both = cells.measure([first, second], cells.Cell(4, 32), texts, seconds)
            after = cells.measure([second], cells.Cell(4, 32), texts, seconds)
            ratios.append(2 * both.tokens_per_s / (before.tokens_per_s + after.tokens_per_s))
    return statistics.median(ratios)


@contextmanager
def _contestants(venvs: Venvs, texts: Texts, plain: Plain) -> Iterator[list[Server]]:
    """Start and check the installed contestants."""
    with ExitStack() as stack:
        servers = [stack.enter_context(our_engine(SERVER_CORE))]
        for name, start in _RIVALS.items():
            if venv := venvs[name]:
                servers.append(stack.enter_context(start(SERVER_CORE, venv)))
            else:
                say(f"{name} is not installed: its ratios are null")
        for server in servers:
            _check(server, texts, plain)
        yield servers


def _check(server: Server, texts: Texts, plain: Plain) -> None:
    """Check that a contestant computes the same model."""
    short = [text for text in texts.real if texts.tokens[text] < 200][:8]
    vectors = np.array(asyncio.run(server.vectors(short)))
    distance = float(np.abs(vectors - np.array([plain.embed(text) for text in short])).max())
    say(f"{server.name}: vectors differ from the plain loop's by at most {distance:.1e}")
    if distance > _TOLERANCE:
        raise RuntimeError(f"{server.name} computes something else")
