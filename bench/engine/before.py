"""Our engine and another version of it side by side, round by round."""

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
_PEAK = ("1.5", "2")  # seconds, of `bench.engine.peak`


def compare(
    paths: Paths, wanted: Sequence[cells.Cell], rounds: int, seconds: float, *, in_process: bool
) -> dict[str, list[tuple[float, float]]]:
    """Costs of each round, now and before: seconds and processor seconds per token of each cell, and of the start.

    Args:
        paths: where Python finds the two versions.
        wanted: cells over HTTP.
        rounds: of both versions each.
        seconds: of each of a cell's four turns.
        in_process: whether also without HTTP, as `bench.engine.peak` has it; its share of the core's peak, inverted.
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
    """Processes of their own for each round: what one owes to its addresses and hashes is one round's."""
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
    """Microseconds."""
    return sum(one.cpu_s if cpu else one.elapsed_s for one in rates) / sum(sum(one.lengths) for one in rates) * 1e6


def _check(servers: dict[int, Server], texts: Texts) -> None:
    """Both compute the same, and neither computes for the first time when it is measured."""
    now, before = (np.array(asyncio.run(servers[turn].vectors(texts.real[:8]))) for turn in (0, 1))
    say(f"vectors differ by at most {float(np.abs(now - before).max()):.1e} from those before")


def _in_process(paths: Paths, number: int) -> Iterator[tuple[str, float, float]]:
    """Processor time over the least that the core's fastest product allows."""
    shares: list[dict[str, float]] = [{}, {}]
    for turn in turns(number)[:2]:
        # Each version has its own benchmark, for that calls into the engine.
        where = environment(paths[turn]) | {"OPENBLAS_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
        command = ["taskset", "-c", str(SERVER_CORE), sys.executable, "-m", "bench.engine.peak", *_PEAK]
        done = subprocess.run(
            command, cwd=paths[turn].parent, env=where, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True
        )
        shares[turn] = json.loads(done.stdout.splitlines()[-1])
    for name in ("of_sgemm_peak", "of_sgemm_peak_1024"):
        yield name.replace("of_sgemm_peak", "cpu_over_sgemm"), 1 / shares[0][name], 1 / shares[1][name]
