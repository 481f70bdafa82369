"""The experiments: each is a table of cells. Pure."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from bench.simulation.policies import OURS, POLICIES
from embedfleet.simulation.batch_cost import BatchCost
from embedfleet.simulation.faults import Fault
from embedfleet.simulation.replica import PERMITS
from embedfleet.simulation.simulated_run import Cell

LATENCIES = ("online_p50_ms", "online_p99_ms", "bulk_p50_ms", "bulk_p99_ms")
RERANK = ("rerank_p50_ms", "rerank_p99_ms")
RIVALS = ("round_robin", "least_conn", "haproxy_maxconn_4_priority", OURS)
PARTS = ("ours_without_reserve", "ours_without_priority", "ours_without_splitting")
SECONDS = {
    "mix": 200.0,
    "mixbal": 60.0,
    "titles": 60.0,
    "title-batches": 60.0,
    "docs": 30.0,
    "rerank": 60.0,
    "short": 4.0,
}
"""Seconds of arrivals at four replicas: some thousand requests, or enough tokens for 200 s of bulk work."""
_LEAST_S = 20.0
_SCALE_LOADS = frozenset({0.5, 0.85})
_FAULT_S = 120.0
_ALONE_S = {"short": 6.0, "docs": 50.0, "title-batches": 60.0, "rerank": 60.0}
_ROOMY = 100_000  # permits: those of TEI would bind before a load of 95 % of short queries
_SLOW_BATCH = BatchCost(a_s=0.012, b_s=26.7e-6)
"""The second cost of a batch: four times the default."""


@dataclass(frozen=True, slots=True)
class Experiment:
    """A table of simulated runs.

    Attributes:
        name: Name on the command line and in the report.
        title: Title of the table.
        cells: Cells by row and column; the command line sets their seeds.
        shown: Figures shown in the table; the report has all.
        is_compared: Whether latencies may be compared; not if some policies refuse what others answer.
    """

    name: str
    title: str
    cells: Mapping[tuple[str, str], Cell]
    shown: Sequence[str] = LATENCIES
    is_compared: bool = True


@dataclass(frozen=True, slots=True)
class Plan:
    """The choices of the command line.

    Attributes:
        workload: Workload of the experiments ``load`` and ``scale``.
        loads: Loads of the experiments ``load``, ``scale`` and ``permits``.
        replicas: Numbers of replicas of ``scale``; ``load`` uses the one nearest to four.
        policies: Names of the policies of ``load``.
        seconds: Length of the arrivals at four replicas; 0 for the workload's default.
        ahead: Whether replicas form a batch while one runs.
        cost: Cost of a replica's batch.
    """

    workload: str = "mix"
    loads: Sequence[float] = (0.5, 0.7, 0.85, 0.95)
    replicas: Sequence[int] = (2, 4, 8, 16, 64)
    policies: Sequence[str] = field(default_factory=lambda: [*RIVALS])
    seconds: float = 0.0
    ahead: bool = True
    cost: BatchCost = field(default_factory=BatchCost)

    def cell(self, policy: str, workload: str, **given: object) -> Cell:
        """A cell whose length suits its workload."""
        cell = replace(Cell(POLICIES[policy], workload, cost=self.cost, ahead=self.ahead), **given)  # type: ignore[arg-type]
        seconds = (self.seconds or SECONDS[workload]) * min(1.0, 4 / cell.replicas)
        return replace(cell, seconds=max(seconds, min(_LEAST_S, self.seconds or SECONDS[workload])))


def load(plan: Plan) -> Experiment:
    """Policies by load, at four replicas."""
    many = min(plan.replicas, key=lambda count: abs(count - 4))
    cells = {
        (policy, f"{load:.0%}"): plan.cell(policy, plan.workload, load=load, replicas=many)
        for policy in plan.policies
        for load in plan.loads
    }
    return Experiment("load", f"{plan.workload}, {many} replicas, by load", cells, _latencies(plan.workload))


def scale(plan: Plan) -> Experiment:
    """Policies by number of replicas, at equal load per replica."""
    cells = {
        (policy, f"{load:.0%} x{many}"): plan.cell(policy, plan.workload, load=load, replicas=many)
        for policy in ("round_robin", "least_conn", OURS)
        for load in sorted(_SCALE_LOADS.intersection(plan.loads) or plan.loads)
        for many in plan.replicas
    }
    return Experiment("scale", f"{plan.workload}, by load and replicas", cells, _latencies(plan.workload))


def workloads(plan: Plan) -> Experiment:
    """Workloads of online requests alone, where little can be gained, and other mixes."""
    cells = {
        (f"{workload} {policy}", f"{load:.0%}"): plan.cell(policy, workload, load=load)
        for workload in ("short", "docs", "rerank", "mixbal", "titles")
        for policy in ("round_robin", "least_conn", OURS)
        for load in (0.7, 0.85)
    }
    cells["titles, calls of 32 ours", "85%"] = plan.cell(OURS, "titles", batch_texts=32)
    return Experiment(
        "workloads", "other workloads, 4 replicas", cells, (*LATENCIES[:2], *RERANK, LATENCIES[3], "computed")
    )


def alone(plan: Plan) -> Experiment:
    """Requests of one kind, where a balancer can only choose the replica; two costs of a batch."""
    cells = {
        (f"{workload} {_cost_name(cost)} {policy}", f"{load:.0%}"): replace(
            plan.cell(policy, workload, load=load, cost=cost, permits=_ROOMY),
            seconds=_ALONE_S[workload],
            settling=0.2,
        )
        for workload in _ALONE_S
        for cost in (plan.cost, _SLOW_BATCH)
        for load in (0.3, *plan.loads)
        for policy in ("least_conn", "exact_knowledge", OURS)
    }
    shown = (*LATENCIES[:2], *RERANK, *LATENCIES[2:])
    return Experiment("alone", "one kind of request alone, 4 replicas with room for any number", cells, shown)


def parts(plan: Plan) -> Experiment:
    """The gain from each part of the dispatcher."""
    policies = ("least_conn", "central_split_priority", *PARTS, OURS)
    cells = {(policy, "85%"): plan.cell(policy, "mix") for policy in policies}
    return Experiment("parts", "mix at 85 %, 4 replicas, with parts switched off", cells)


def slow(plan: Plan) -> Experiment:
    """One replica is half as fast as the others."""
    cells = {
        (f"{workload} {policy}", "85%"): plan.cell(policy, workload, slowness=(2.0,))
        for workload in ("mix", "docs", "rerank")
        for policy in RIVALS
    }
    return Experiment("slow", "one of 4 replicas 2x slower, 85 % of what they can do", cells, (*LATENCIES, *RERANK))


FAULTS: Mapping[str, tuple[float, tuple[Fault, ...]]] = {
    "stall 2 s in 30 s": (0.7, (Fault("stop", 10, 2, every_s=30),)),
    "hang 60 s": (0.6, (Fault("stop", 30, 60),)),
    "crash, 30 s away": (0.6, (Fault("crash", 30, 30),)),
    "429 for 10 s": (0.6, (Fault("throttle", 30, 10),)),
}


def faults(plan: Plan) -> Experiment:
    """Effects on clients of replicas that hang, die or refuse."""
    cells = {
        (f"{workload} {policy}", name): replace(plan.cell(policy, workload, load=load, faults=found), seconds=_FAULT_S)
        for workload in ("mix", "docs")
        for policy in RIVALS
        for name, (load, found) in FAULTS.items()
    }
    shown = ("online_p99_ms", "bulk_p99_ms", "online_over_1s", "online_over_5s", "refused", "repeated")
    return Experiment("faults", "faults of one of 4 replicas", cells, shown, False)


def permits(plan: Plan) -> Experiment:
    """Requests that TEI's permits refuse."""
    cells = {
        (policy, f"{load:.0%}"): plan.cell(policy, "mix", load=load, permits=PERMITS)
        for policy in ("round_robin", "least_conn", "least_conn_cut_32", OURS)
        for load in plan.loads
    }
    return Experiment("permits", "mix, 4 replicas with 512 permits", cells, ("online_refused", "bulk_refused"), False)


def overload(plan: Plan) -> Experiment:
    """More load than the replicas can serve."""
    cells = {
        (policy, f"{load:.0%}"): plan.cell(policy, "mix", load=load, permits=PERMITS, bounded=True)
        for policy in ("round_robin", "least_conn", "least_conn_cut_32", OURS)
        for load in (1.1, 1.5)
    }
    shown = (
        "online_in_objective",
        "computed",
        "useful",
        "online_refused",
        "bulk_refused",
        "online_p99_ms",
        "bulk_p99_ms",
    )
    return Experiment("overload", "mix, 4 replicas with 512 permits, overloaded", cells, shown, False)


def padded(plan: Plan) -> Experiment:
    """Replicas that pad; the load is relative to their throughput with texts in order of arrival."""
    cost = replace(plan.cost, padded=True)
    cells = {
        (f"{workload} {policy}", f"{load:.0%}"): plan.cell(policy, workload, load=load, cost=cost)
        for workload, loads in (("mix", (0.85, 1.2)), ("rerank", (0.85,)), ("docs", (0.85,)))
        for policy in ("round_robin", "least_conn", OURS)
        for load in loads
    }
    return Experiment("padded", "padded, 4 replicas", cells, (*LATENCIES, *RERANK, "useful_of_padded"))


def _cost_name(cost: BatchCost) -> str:
    return f"{1000 * cost.a_s:g} ms + {1e6 * cost.b_s:.3g} us"


def _latencies(workload: str) -> Sequence[str]:
    return RERANK if workload == "rerank" else LATENCIES if workload.startswith("mix") else LATENCIES[:2]


EXPERIMENTS: Mapping[str, Callable[[Plan], Experiment]] = {
    make.__name__: make for make in (load, scale, workloads, alone, parts, slow, faults, permits, overload, padded)
}
