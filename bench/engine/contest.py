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
from bench.engine.contestants import Server, infinity_emb, our_engine, padded_session, sentence_transformers
from bench.engine.peak import Sampling
from bench.engine.plain import Plain
from bench.engine.texts import Texts
from bench.measuring.process import on_core
from bench.measuring.report import missing, say
from embedfleet.engine.model.builtin import builtin_model

_TOLERANCE = 1e-3
_RIVALS = {"infinity": infinity_emb, "sentence-transformers": sentence_transformers}
Venvs = Mapping[str, str | None]
"""Virtual environment of each rival by name; None for one that is not installed."""


def measure(
    venvs: Venvs, rivals: Sequence[Server], wanted: Sequence[cells.Cell], rounds: int, seconds: float
) -> dict[str, dict[str, list[Any]]]:
    """Rates of each round by contestant and cell, and tokens per second of the plain loop.

    Args:
        venvs: Virtual environments of the rivals that we start.
        rivals: Servers that run already.
        wanted: Cells to measure.
        rounds: Number of rounds.
        seconds: Length of a cell in each round.
    """
    texts, plain = Texts(), Plain()
    found: dict[str, dict[str, list[Any]]] = defaultdict(lambda: defaultdict(list))
    with on_core(CLIENT_CORE), _contestants(venvs, rivals, texts, plain) as servers:
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
def _contestants(venvs: Venvs, rivals: Sequence[Server], texts: Texts, plain: Plain) -> Iterator[list[Server]]:
    """Check the servers that run already, and start and check the installed contestants."""
    for rival in rivals:
        _check(rival, texts, plain)
    with ExitStack() as stack:
        servers = [stack.enter_context(start(SERVER_CORE)) for start in (our_engine, padded_session)]
        for name, start in _RIVALS.items():
            if venv := venvs[name]:
                servers.append(stack.enter_context(start(SERVER_CORE, venv)))
            else:
                say(f"{name} is not installed: its ratios are null")
        for server in servers:
            _check(server, texts, plain)
        yield [*servers, *rivals]


def _check(server: Server, texts: Texts, plain: Plain) -> None:
    """Check that a contestant computes the same model; exits if it does not, or cannot be asked."""
    short = [text for text in texts.real if texts.tokens[text] < 200][:8]
    expected = np.array([plain.embed(text) for text in short])
    hint = f"it must serve all-MiniLM-L6-v2 in float32 with mean pooling and normalised vectors: {builtin_model()}"
    try:
        vectors = np.array(asyncio.run(server.vectors(short)), dtype=np.float64)
    except OSError as error:
        missing(f"{server.name} cannot be reached at {server.url}: {error}", "start it first; give its host and port")
    except (RuntimeError, ValueError, KeyError, TypeError, EOFError) as error:
        missing(f"{server.name} at {server.url} does not answer with vectors: {error!r}", hint)
    if vectors.shape != expected.shape:
        missing(f"{server.name} answers with an array of {vectors.shape}, not {expected.shape}", hint)
    distance = float(np.abs(vectors - expected).max())
    say(f"{server.name}: vectors differ from the plain loop's by at most {distance:.1e}")
    if not distance <= _TOLERANCE:
        missing(f"{server.name} computes something else: a number of its vectors differs by {distance:.2g}", hint)
