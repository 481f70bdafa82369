"""``python -m bench.members [--compiled FOLDER] [--rounds N]``: CPU time per request by the number of members.

The gateway has 2, 64 or 1,024 members, which are two ports of one nginx; everything else is as in `bench.gateway`, with
``--coalesce false`` and 64 clients. Each round loads the gateways in turns. The last line of stdout is one JSON object
with the ratios: the median over rounds of 1,024 members over 64, and of 64 over 2.
"""

import argparse
import statistics
from collections import defaultdict
from contextlib import ExitStack
from pathlib import Path

from bench.gateway import CONNECTIONS, backend, cost, start_ours, wait_for
from bench.measuring.memory import allow_connections
from bench.measuring.report import report, say
from bench.measuring.wrk import load
from embedfleet.load.plan import request_bytes

_MEMBERS = (2, 64, 1024)
_SECONDS = 2


def measure(rounds: int, compiled: Path | None) -> dict[int, list[float]]:
    """CPU time per request, in microseconds, of each round, by number of members."""
    found: dict[int, list[float]] = defaultdict(list)
    with backend() as (_, ports, lua), ExitStack() as stack:
        proxies = {
            many: start_ours(stack, (ports * many)[:many], f"{many} members", compiled, "--coalesce", "false")
            for many in _MEMBERS
        }
        for proxy in proxies.values():
            wait_for(proxy, request_bytes("/embed", {"inputs": "ready"}))
            load(proxy.port, CONNECTIONS, 2, lua)  # opens connections to the members
        for number in range(rounds):
            for many, proxy in proxies.items():
                each_us, _, _ = cost(proxy, CONNECTIONS, _SECONDS, lua)
                found[many].append(each_us)
                say(f"round {number + 1}: {many:5} members {each_us:6.1f} µs")
    return found


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--compiled", type=Path, help="folder made by scripts/compile; default: interpreted")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    allow_connections()
    found = measure(given.rounds, given.compiled and given.compiled.absolute())
    by_members = {many: statistics.median(values) for many, values in found.items()}
    report(
        ratios={
            "cpu_1024_members_over_64": round(by_members[1024] / by_members[64], 3),
            "cpu_64_members_over_2": round(by_members[64] / by_members[2], 3),
        },
        cpu_us={str(many): round(value, 1) for many, value in by_members.items()},
        is_compiled=given.compiled is not None,
    )


if __name__ == "__main__":
    main()
