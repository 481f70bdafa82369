"""``python -m bench.simulation``: latencies of clients by policy, in virtual time; medians over seeds.

The simulator and our dispatcher are the package's (`embedfleet.simulation`); the rivals are models
(`bench.simulation.policies`). Behind rivals, which split nothing, replicas take any number of texts per request and,
unless an experiment says otherwise, have unlimited permits; behind ours they have TEI's own limits. Tables go to
stderr; the last line of stdout is one JSON object with all figures.
"""

import argparse
from collections.abc import Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

from bench.measuring.report import missing, report, say
from bench.simulation.experiments import EXPERIMENTS, RIVALS, Experiment, Plan
from bench.simulation.plots import draw
from bench.simulation.policies import POLICIES
from bench.simulation.tables import Results, ratio_table, ratios, table
from embedfleet.load.workload import WORKLOADS
from embedfleet.simulation.batch_cost import BatchCost
from embedfleet.simulation.figures import Figures, medians
from embedfleet.simulation.objective import largest_load
from embedfleet.simulation.simulated_run import simulate
from embedfleet.system.cgroup import cores

OBJECTIVE = "objective"
_NAMES = (*EXPERIMENTS, OBJECTIVE)


def run(experiment: Experiment, seeds: Sequence[int], pool: Executor) -> Results:
    """Median figures of each cell over the seeds."""
    cells = [replace(cell, seed=seed) for cell in experiment.cells.values() for seed in seeds]
    figures = list(pool.map(simulate, cells))
    runs = [figures[start : start + len(seeds)] for start in range(0, len(figures), len(seeds))]
    return {key: medians(found) for key, found in zip(experiment.cells, runs, strict=True)}


def objective(plan: Plan, seeds: Sequence[int], pool: Executor) -> dict[str, float]:
    """The largest load at which each policy meets the objective."""
    policies = [*RIVALS, "central_split_priority"]
    cells = [plan.cell(policy, "mix") for policy in policies]
    found = pool.map(largest_load, cells, [seeds] * len(cells))
    loads = {policy: round(load, 2) for policy, load in zip(policies, found, strict=True)}
    say("\nlargest load with online p99 within 250 ms and bulk p99 within 5 s, mix, 4 replicas")
    for policy, load in loads.items():
        say(f"{policy:28} {load:5.0%}")
    return loads


def told(results: Results) -> dict[str, dict[str, Figures]]:
    """Figures for the report: by row, then by column, rounded; -1 for infinity, when requests never ended."""
    rows: dict[str, dict[str, Figures]] = {}
    for (row, column), figures in results.items():
        rounded = {name: -1.0 if value == float("inf") else round(value, 4) for name, value in figures.items()}
        rows.setdefault(row, {})[column] = rounded
    return rows


def parse() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="under a minute: one load, one seed, four policies")
    parser.add_argument("--experiments", default="load", help=f"all, or some of {', '.join(_NAMES)}; default: load")
    parser.add_argument(
        "--workload", choices=WORKLOADS, default="mix", help="workload of the experiments load and scale"
    )
    parser.add_argument(
        "--loads", default=".5,.7,.85,.95", help="offered tokens divided by the tokens that the replicas can compute"
    )
    parser.add_argument("--replicas", default="2,4,8,16,64", help="numbers of replicas of the experiment scale")
    parser.add_argument(
        "--policies", default="", help="policies of the experiment load: all, or some of " + ", ".join(POLICIES)
    )
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument(
        "--seconds", type=float, default=0.0, help="length of the arrivals; 0 for the workload's default"
    )
    parser.add_argument("--batch-ms", type=float, default=3.0, help="fixed time of a replica's batch")
    parser.add_argument("--tokens-per-s", type=float, default=150_000.0, help="throughput of a replica within a batch")
    parser.add_argument("--no-prefetch", action="store_true", help="replicas form no batch while one runs")
    parser.add_argument("--plots", type=Path, help="folder for SVG images of the experiments load and scale")
    parser.add_argument("--processes", type=int, default=cores())
    return parser.parse_args()


def plan_of(given: argparse.Namespace) -> Plan:
    """The plan for the parsed command line; exits if a policy is unknown."""
    policies = [name for name in POLICIES if not name.startswith("ours_")] if not given.policies else []
    policies = policies or (list(POLICIES) if given.policies == "all" else given.policies.split(","))
    unknown = [policy for policy in policies if policy not in POLICIES]
    if unknown:
        missing(f"no policy is called {unknown[0]!r}", f"the policies are {', '.join(POLICIES)}")
    return Plan(
        workload=given.workload,
        loads=(0.85,) if given.quick else tuple(float(load) for load in given.loads.split(",")),
        replicas=tuple(int(count) for count in given.replicas.split(",")),
        policies=list(RIVALS) if given.quick else policies,
        seconds=60.0 if given.quick else given.seconds,
        ahead=not given.no_prefetch,
        cost=BatchCost(a_s=given.batch_ms / 1000, b_s=1 / given.tokens_per_s),
    )


def main() -> None:
    """Run the command."""
    given = parse()
    plan = plan_of(given)
    names = _NAMES if given.experiments == "all" else given.experiments.split(",")
    unknown = [name for name in names if name not in _NAMES]
    if unknown:
        missing(f"no experiment is called {unknown[0]!r}", f"the experiments are {', '.join(_NAMES)}")
    seeds = range(1 if given.quick else given.seeds)
    values: dict[str, object] = {}
    with ProcessPoolExecutor(given.processes) as pool:
        for name in names:
            if name == OBJECTIVE:
                values[name] = objective(plan, seeds, pool)
                continue
            experiment = EXPERIMENTS[name](plan)
            results = run(experiment, seeds, pool)
            say(table(experiment, results))
            values[name] = {"rows": told(results)}
            if experiment.is_compared:
                say(ratio_table(experiment, results))
                values[name] = {"rows": told(results), "ratios": told(ratios(experiment, results))}
            if given.plots is not None:
                draw(given.plots, experiment, results)
    report(workload=plan.workload, seeds=len(seeds), prefetch=plan.ahead, **values)


if __name__ == "__main__":
    main()
