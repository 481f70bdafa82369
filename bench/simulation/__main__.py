"""``python -m bench.simulation``: p50 and p99 by policy and load, in virtual time; medians over seeds.

The dispatcher is the one in ``src``; its rivals are in `bench.simulation.policies`. Behind rivals, which cannot cut,
replicas take any number of texts per request and have permits without end; behind ours they have TEI's own limits.
"""

import argparse
import statistics
from collections.abc import Callable
from dataclasses import replace

from bench.report import report, say
from bench.simulation.clock import Clock
from bench.simulation.door import Door, Ledger
from bench.simulation.ours import Ours
from bench.simulation.policies import Balancer, MaxConn, least_conn, least_time, random_two, round_robin
from bench.simulation.replica import PERMITS, SimReplica
from bench.workload import WORKLOADS, Arrival, Cost, arrivals
from embedfleet.gateway.dispatch.limits import DispatchLimits

_START_S = 0.1  # until replicas have been probed
_DRAIN_S = 120.0
_NO_LIMIT = 10**9
# Queues without bounds, as the rivals': what is compared is the order of work, not who is turned away.
LIMITS = DispatchLimits(online_queue_s=1e9, bulk_queue_s=1e9, queue_bytes=10**12)

Make = Callable[[Clock, list[SimReplica], Ledger, Cost], Door]
POLICIES: dict[str, Make] = {
    "round_robin": lambda clock, replicas, ledger, _: Balancer(clock, replicas, ledger, round_robin()),
    "least_conn": lambda clock, replicas, ledger, _: Balancer(clock, replicas, ledger, least_conn()),
    "random_two": lambda clock, replicas, ledger, _: Balancer(clock, replicas, ledger, random_two()),
    "least_time": lambda clock, replicas, ledger, _: Balancer(clock, replicas, ledger, least_time()),
    "least_conn_cut_32": lambda clock, replicas, ledger, _: Balancer(clock, replicas, ledger, least_conn(), cut=32),
    "haproxy_maxconn_4_priority": lambda clock, replicas, ledger, _: MaxConn(clock, replicas, ledger, 4),
    "ours": lambda clock, replicas, ledger, cost: Ours(clock, replicas, ledger, LIMITS, cost),
    "ours_without_reserve": lambda clock, replicas, ledger, cost: Ours(
        clock, replicas, ledger, replace(LIMITS, reserve=False), cost
    ),
    "ours_without_splitting": lambda clock, replicas, ledger, cost: Ours(
        clock, replicas, ledger, replace(LIMITS, split=False), cost
    ),
}


def simulate(policy: str, asked: list[Arrival], replicas: int, cost: Cost, seconds: float) -> Ledger:
    """One run.

    Args:
        policy: of `POLICIES`.
        asked: the arrivals.
        replicas: how many.
        cost: of their batches.
        seconds: of arrivals; what is under way then is finished.
    """
    clock, ledger = Clock(), Ledger()
    permits = PERMITS if policy == "ours" else _NO_LIMIT
    door = POLICIES[policy](clock, [SimReplica(clock, cost, permits=permits) for _ in range(replicas)], ledger, cost)
    clock.run(_START_S)
    for arrival in asked:
        later = replace(arrival, at_s=arrival.at_s + _START_S)
        clock.at(later.at_s, lambda arrival=later: door.arrive(arrival))  # type: ignore[misc]
    clock.run(_START_S + seconds + _DRAIN_S)
    return ledger


def percentile(values: list[float], share: float) -> float:
    """Nearest rank, in milliseconds."""
    ordered = sorted(values)
    return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))] * 1000, 1)


def cell(policy: str, workload: str, load: float, replicas: int, seconds: float, seed: int) -> dict[str, float]:
    """One run's figures by kind: ``online_p50_ms`` and so on, and how many were refused or never answered."""
    cost = Cost()
    asked = arrivals(workload, load, replicas * cost.tokens_per_s, seconds, seed)
    ledger = simulate(policy, asked, replicas, cost, seconds)
    found: dict[str, float] = {
        "refused": len(ledger.refused),
        "lost": len(asked) - len(ledger.refused) - len(ledger.latency_s),
    }
    for kind in sorted({arrival.kind for arrival in asked}):
        counted = [a.number for a in asked if a.kind == kind and a.at_s > seconds / 10]
        values = [ledger.latency_s[number] for number in counted if number in ledger.latency_s]
        if values:
            found |= {f"{kind}_p50_ms": percentile(values, 0.5), f"{kind}_p99_ms": percentile(values, 0.99)}
    return found


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="under a minute: one load, one seed, three policies")
    parser.add_argument("--workload", choices=WORKLOADS, default="mix")
    parser.add_argument("--loads", default="0.5,0.7,0.85,0.95")
    parser.add_argument("--replicas", type=int, default=4)
    parser.add_argument("--policies", default=",".join(POLICIES))
    parser.add_argument("--seconds", type=float, default=200.0)
    parser.add_argument("--seeds", type=int, default=5)
    given = parser.parse_args()
    loads = [0.85] if given.quick else [float(load) for load in given.loads.split(",")]
    policies = ["least_conn", "haproxy_maxconn_4_priority", "ours"] if given.quick else given.policies.split(",")
    seeds, seconds = (1, 60.0) if given.quick else (given.seeds, given.seconds)
    table: dict[str, dict[str, dict[str, float]]] = {}
    for load in loads:
        for policy in policies:
            runs = [cell(policy, given.workload, load, given.replicas, seconds, seed) for seed in range(seeds)]
            names = runs[0].keys()
            medians = {name: round(statistics.median(run.get(name, 0.0) for run in runs), 1) for name in names}
            table.setdefault(str(load), {})[policy] = medians
            say(f"{given.workload} {load:4} x{given.replicas} {policy:28} {medians}")
    report(workload=given.workload, replicas=given.replicas, seeds=seeds, seconds=seconds, loads=table)


if __name__ == "__main__":
    main()
