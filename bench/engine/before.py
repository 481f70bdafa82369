"""Comparison of our engine with another version, round by round."""

import asyncio
import json
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from bench.engine import cells
from bench.engine.cells import CLIENT_CORE, SERVER_CORE
from bench.engine.contestants import Server, our_engine
from bench.engine.texts import Texts
from bench.measuring.paired import turns
from bench.measuring.process import on_core
from bench.measuring.report import say
from bench.measuring.versions import environment

Paths = tuple[Path, Path]
_PEAK = ("1.5", "2")  # arguments of `bench.engine.peak`: seconds of a round, and rounds


def compare(
    paths: Paths, wanted: Sequence[cells.Cell], rounds: int, seconds: float, *, in_process: bool
) -> dict[str, list[tuple[float, float]]]:
    """Costs of each round now and before: time and CPU time per token of each cell, and of the start.

    Args:
        paths: Source folders now and before.
        wanted: Cells over HTTP.
        rounds: Number of rounds.
        seconds: Length of each of a cell's four turns.
        in_process: Whether to measure without HTTP too, as the inverse of the share of the core's peak
            (`bench.engine.peak`).
    """
    texts = Texts()
    pairs: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for number in range(rounds):
        found = [
            *_over_http(paths, texts, wanted, number, seconds),
            *(_in_process(paths, number) if in_process else ()),
        ]
        for name, now, before in found:
            pairs[name].append((now, before))
            say(f"round {number + 1}: {name:22} {now:10.5g}, before {before:10.5g}, {now / before:.3f} times")
    return pairs


def _over_http(
    paths: Paths, texts: Texts, wanted: Sequence[cells.Cell], number: int, seconds: float
) -> Iterator[tuple[str, float, float]]:
    """Measure one round with new processes, so that effects of a process's addresses and hashes stay in its round."""
    with ExitStack() as stack:
        servers: dict[int, Server] = {}
        load_s = [0.0, 0.0]
        for turn in turns(number)[:2]:
            started = time.perf_counter()
            servers[turn] = stack.enter_context(our_engine(SERVER_CORE, source=paths[turn]))
            load_s[turn] = time.perf_counter() - started
        stack.enter_context(on_core(CLIENT_CORE))
        _check(servers, texts)
        yield "load_s", load_s[0], load_s[1]
        for cell in wanted:
            rates: tuple[list[cells.Rate], ...] = ([], [])
            for turn in turns(number):
                rates[turn].append(cells.measure([servers[turn]], cell, texts, seconds))
            name = cell.name.replace(" ", "_")
            yield f"{name}_cpu_us_per_token", *(_per_token(some, cpu=True) for some in rates)  # type: ignore[misc]
            yield f"{name}_us_per_token", *(_per_token(some, cpu=False) for some in rates)  # type: ignore[misc]


def _per_token(rates: Sequence[cells.Rate], *, cpu: bool) -> float:
    """Cost per token, in microseconds."""
    return sum(one.cpu_s if cpu else one.elapsed_s for one in rates) / sum(sum(one.lengths) for one in rates) * 1e6


def _check(servers: dict[int, Server], texts: Texts) -> None:
    """Check that both compute the same vectors, and warm both up."""
    now, before = (np.array(asyncio.run(servers[turn].vectors(texts.real[:8]))) for turn in (0, 1))
    say(f"vectors differ by at most {float(np.abs(now - before).max()):.1e} from those before")


def _in_process(paths: Paths, number: int) -> Iterator[tuple[str, float, float]]:
    """Measure CPU time over the least time that is possible at the rate of the core's fastest product."""
    shares: list[dict[str, float]] = [{}, {}]
    for turn in turns(number)[:2]:
        # Each version runs its own benchmark, because that calls into the engine.
        where = environment(paths[turn]) | {"OPENBLAS_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
        command = ["taskset", "-c", str(SERVER_CORE), sys.executable, "-m", "bench.engine.peak", *_PEAK]
        done = subprocess.run(
            command, cwd=paths[turn].parent, env=where, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True
        )
        shares[turn] = json.loads(done.stdout.splitlines()[-1])
    for name in ("of_sgemm_peak", "of_sgemm_peak_1024"):
        yield name.replace("of_sgemm_peak", "cpu_over_sgemm"), 1 / shares[0][name], 1 / shares[1][name]
