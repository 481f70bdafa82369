"""``python -m bench.simulation``: what clients wait, by policy, in virtual time; medians over seeds.

The dispatcher is the one in ``src``; its rivals are in `bench.simulation.policies`. Behind rivals, which cut nothing,
replicas take any number of texts per request and, where nothing else is said, have permits without end; behind ours
they have TEI's own limits. Tables go to stderr, one JSON object with all figures is the last line of stdout.
"""

import argparse
from collections.abc import Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

from bench.report import missing, report, say
from bench.simulation.cell import simulate
from bench.simulation.experiments import EXPERIMENTS, RIVALS, Experiment, Plan
from bench.simulation.figures import Figures, medians
from bench.simulation.objective import largest_load
from bench.simulation.plots import draw
from bench.simulation.policies import POLICIES
from bench.simulation.tables import Results, ratio_table, ratios, table
from bench.workload import WORKLOADS, Cost
from embedfleet.system.cgroup import cores

OBJECTIVE = "objective"
_NAMES = (*EXPERIMENTS, OBJECTIVE)


def run(experiment: Experiment, seeds: Sequence[int], pool: Executor) -> Results:
    """The medians of each cell."""
    cells = [replace(cell, seed=seed) for cell in experiment.cells.values() for seed in seeds]
    figures = list(pool.map(simulate, cells))
    runs = [figures[start : start + len(seeds)] for start in range(0, len(figures), len(seeds))]
    return {key: medians(found) for key, found in zip(experiment.cells, runs, strict=True)}


def objective(plan: Plan, seeds: Sequence[int], pool: Executor) -> dict[str, float]:
    """By policy the largest load that meets the objective."""
    policies = [*RIVALS, "central_split_priority"]
    cells = [plan.cell(policy, "mix") for policy in policies]
    found = pool.map(largest_load, cells, [seeds] * len(cells))
    loads = {policy: round(load, 2) for policy, load in zip(policies, found, strict=True)}
    say("\nlargest load with online p99 within 250 ms and bulk p99 within 5 s, mix, 4 replicas")
    for policy, load in loads.items():
        say(f"{policy:28} {load:5.0%}")
    return loads


def told(results: Results) -> dict[str, dict[str, Figures]]:
    """As the report has it: by row, then by column, rounded; -1 is what never ended."""
    rows: dict[str, dict[str, Figures]] = {}
    for (row, column), figures in results.items():
        rounded = {name: -1.0 if value == float("inf") else round(value, 4) for name, value in figures.items()}
        rows.setdefault(row, {})[column] = rounded
    return rows


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="under a minute: one load, one seed, four policies")
    parser.add_argument("--experiments", default="load", help=f"all, or of {', '.join(_NAMES)}; default: load")
    parser.add_argument("--workload", choices=WORKLOADS, default="mix", help="of the experiments load and scale")
    parser.add_argument("--loads", default=".5,.7,.85,.95", help="tokens asked over what the replicas can do")
    parser.add_argument("--replicas", default="2,4,8,16,64", help="numbers of replicas of the experiment scale")
    parser.add_argument("--policies", default="", help="of the experiment load: all, or of " + ", ".join(POLICIES))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.0, help="of arrivals; 0 for what suits the workload")
    parser.add_argument("--batch-ms", type=float, default=3.0, help="a replica's time for a batch, whatever is in it")
    parser.add_argument("--tokens-per-s", type=float, default=150_000.0, help="that a replica does within a batch")
    parser.add_argument("--no-prefetch", action="store_true", help="replicas that form no batch while one runs")
    parser.add_argument("--plots", type=Path, help="folder for SVG images of the experiments load and scale")
    parser.add_argument("--processes", type=int, default=cores())
    return parser.parse_args()


def plan_of(given: argparse.Namespace) -> Plan:
    """What is to be run; ends the program if a policy is unknown."""
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
        cost=Cost(a_s=given.batch_ms / 1000, b_s=1 / given.tokens_per_s),
    )


def main() -> None:
    """See the module."""
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
