"""``python -m bench.engine.overhead --before CHECKOUT [--quick]``: processor time of a request outside the model.

The engine serves a seeded BERT of two layers and 32 dimensions, so nearly all of a request's time is spent outside the
matrix products: HTTP, JSON, tokenizer, queue, and the call of the runtime. wrk asks for one text of six random words at
a time, on one connection and on 64, from the other core. Both versions take turns in every round: now, before, before,
now; in the next round the other way round (`bench.measuring.paired`). Figures are processor time per request of the
engine's process, in microseconds, and at one connection also the median latency. The last line is one JSON object.
"""

import argparse
import shutil
import statistics
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from bench.conformance.models import write_embedder
from bench.engine.cells import SERVER_CORE
from bench.engine.contestants import Server, our_engine
from bench.measuring.paired import ROUNDS, table, told, turns
from bench.measuring.report import missing, report, say
from bench.measuring.versions import versions
from bench.measuring.wrk import load
from embedfleet.system.cgroup import cores

CONNECTIONS = (64, 1)
_LUA = """
local words = {"red", "green", "river", "stone", "bird", "sings", "over", "under"}
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
function request()
    local text = {}
    for number = 1, 6 do text[number] = words[math.random(#words)] end
    return wrk.format(nil, nil, nil, '{"inputs":"' .. table.concat(text, " ") .. '"}')
end
"""


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost of one turn: requests, processor time and median latency, in microseconds."""

    requests: int
    cpu_us: float
    wait_us: float


def compare(paths: tuple[Path, Path], rounds: int, seconds: int) -> dict[str, list[tuple[float, float]]]:
    """Costs of each round, now and before.

    Args:
        paths: Source folders now and before.
        rounds: Number of rounds.
        seconds: Length of each turn; there are two for each version, round and number of connections.
    """
    pairs: dict[str, list[tuple[float, float]]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        model, lua = Path(folder) / "embedder", Path(folder) / "post.lua"
        write_embedder(model)
        lua.write_text(_LUA)
        for number in range(rounds):
            for name, pair in _round(paths, model, number, seconds, lua):
                pairs[name].append(pair)
                say(f"round {number + 1}: {name:16} {pair[0]:7.1f}, before {pair[1]:7.1f}, {pair[0] / pair[1]:.3f}")
    return pairs


def _round(
    paths: tuple[Path, Path], model: Path, number: int, seconds: int, lua: Path
) -> Iterator[tuple[str, tuple[float, float]]]:
    """Measure one round with new processes, so that effects of a process's addresses and hashes stay in its round."""
    with ExitStack() as stack:
        both = [stack.enter_context(our_engine(SERVER_CORE, model=str(model), source=path)) for path in paths]
        for server in both:
            _turn(server, 64, 1, lua)
        for connections in CONNECTIONS:
            costs: tuple[list[Cost], list[Cost]] = ([], [])
            for turn in turns(number):
                costs[turn].append(_turn(both[turn], connections, seconds, lua))
            yield f"{connections}_cpu_us", (_cpu(costs[0]), _cpu(costs[1]))
            if connections == 1:
                yield "1_p50_us", (_wait(costs[0]), _wait(costs[1]))


def _turn(server: Server, connections: int, seconds: int, lua: Path) -> Cost:
    port = urlsplit(server.url).port
    assert port is not None, "a contestant's address has a port"
    before = server.cpu_s()
    requests, wait_us = load(port, connections, seconds, lua)
    return Cost(requests, (server.cpu_s() - before) * 1e6, wait_us)


def _cpu(costs: Sequence[Cost]) -> float:
    return sum(cost.cpu_us for cost in costs) / sum(cost.requests for cost in costs)


def _wait(costs: Sequence[Cost]) -> float:
    return statistics.mean(cost.wait_us for cost in costs)


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", type=Path, metavar="CHECKOUT", required=True, help="compare with this checkout")
    parser.add_argument("--rounds", type=int, help=f"number of rounds; {ROUNDS} by default")
    parser.add_argument("--quick", action="store_true", help="one round of short turns")
    options = parser.parse_args()
    if cores() < 2:
        missing("two cores are needed, one for the engine and one for wrk", "run it on a larger machine")
    for tool, package in (("wrk", "wrk"), ("taskset", "util-linux")):
        if shutil.which(tool) is None:
            missing(f"{tool} is not installed", f"on Debian or Ubuntu: apt-get install {package}")
    rounds, seconds = (1, 1) if options.quick else (options.rounds or ROUNDS, 2)
    pairs = compare(versions(options.before), rounds, seconds)
    say("\nnow over before\n" + table(pairs))
    report(**told(pairs), quick=options.quick)


if __name__ == "__main__":
    main()
