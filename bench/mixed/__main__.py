"""The command ``python -m bench.mixed``."""

import argparse
import shutil
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import bench.mixed as package
from bench.contestants import CONTESTANTS, CUT, find
from bench.measuring.names import names_of
from bench.measuring.paired import table, told
from bench.measuring.report import missing, report, say
from bench.measuring.versions import versions
from bench.mixed import before as before_ours
from bench.mixed.agreement import agreement
from bench.mixed.cells import ALONE, QUICK, WHOLE, Cell, chosen, total_s
from bench.mixed.faults import cases, measure
from bench.mixed.gains import gains
from bench.mixed.medians import add_counts, median_figures, ratios, throughput
from bench.mixed.meter import Meter
from bench.mixed.plots import draw
from bench.mixed.run import RunPlan, run
from bench.mixed.tables import agreement_table, cell_table, fault_table, gain_table
from embedfleet.load.tally import Objective
from embedfleet.load.workload import WORKLOADS
from embedfleet.simulation.batch_cost import BatchCost
from embedfleet.system.cgroup import cores

_HEADLINE, _SATURATED = "mix 85 %", "mix 120 %"
Runs = dict[str, dict[str, list[dict[str, Any]]]]  # cell name → contestant → figures of each run


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.mixed", description=package.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="under a minute: the mix at 85 %%, nginx-lc and ours")
    parser.add_argument("--alone", action="store_true", help="requests of one kind alone, at several loads and costs")
    parser.add_argument("--workload", choices=WORKLOADS, help="run only this workload")
    parser.add_argument("--load", type=float, help="offered tokens divided by the replicas' capacity")
    parser.add_argument("--batch-ms", type=float, help="fixed time of a replica's batch; with --tokens-per-s")
    parser.add_argument("--tokens-per-s", type=float, help="throughput of a replica within a batch; with --batch-ms")
    parser.add_argument("--seconds", type=float, help="measured seconds of each run")
    parser.add_argument("--warm-up", type=float, help="seconds before the measured ones")
    parser.add_argument("--seeds", type=int, help="number of runs of each contestant")
    parser.add_argument("--contestants", metavar="A,B", help=f"some of {', '.join(CONTESTANTS)}; each also with {CUT}")
    parser.add_argument(
        "--client-batch", type=int, metavar="TEXTS", help="maximum texts in a call, for every contestant"
    )
    parser.add_argument(
        "--permits", type=int, default=512, help="maximum texts that a replica accepts at once; default: TEI's"
    )
    parser.add_argument(
        "--objective-ms", type=float, default=250.0, help="latency up to which an online answer is useful"
    )
    parser.add_argument("--faults", action="store_true", help="run only faults")
    faults = [case.name for case in cases(0.0)]
    which = f"some of the faults: {', '.join(faults).replace('%', '%%')}"
    parser.add_argument("--only", metavar="A,B", type=names_of(faults), help=which)
    before = f"with --faults: compare with this checkout in turns, over {before_ours.SEEDS} schedules or --seeds"
    parser.add_argument("--before", type=Path, metavar="CHECKOUT", help=before)
    parser.add_argument("--stop-s", type=float, default=60.0, help="seconds for which a replica is stopped")
    parser.add_argument("--plots", type=Path, metavar="DIR", help="folder for images")
    options = parser.parse_args()
    if options.before and not options.faults:
        parser.error("--before goes with --faults")
    if (options.batch_ms is None) != (options.tokens_per_s is None):
        parser.error("--batch-ms and --tokens-per-s are the two parts of one cost: give both")
    if (options.batch_ms or 0) < 0 or (options.tokens_per_s is not None and options.tokens_per_s <= 0):
        parser.error(f"a batch cannot take {options.batch_ms:g} ms at {options.tokens_per_s:g} tokens per second")
    return options


def wanted(options: argparse.Namespace) -> tuple[Cell, ...]:
    """The cells to run."""
    if options.alone:
        return ALONE
    cost = None
    if options.batch_ms is not None:
        cost = BatchCost(options.batch_ms / 1000, 1 / options.tokens_per_s)
    one = (cost, options.workload, options.load, options.seconds, options.warm_up, options.seeds, options.contestants)
    if all(value is None for value in one):
        return QUICK if options.quick else WHOLE
    names = (options.contestants or "nginx-lc,ours").split(",")
    return chosen(
        workload=options.workload or "mix",
        load=options.load or 0.85,
        contestants=names,
        seeds=options.seeds or (1 if options.quick else 3),
        warm_up_s=4.0 if options.warm_up is None else options.warm_up,
        seconds=options.seconds or (16.0 if options.quick else 25.0),
        cost=cost,
    )


def installed(cells: Sequence[Cell]) -> tuple[Cell, ...]:
    """The cells with only the contestants that are installed; prints how to install the others."""
    hints = {}
    kept = []
    for cell in cells:
        names = []
        for name in cell.contestants:
            contestant, _ = find(name)
            if contestant.installed:
                names.append(name)
            else:
                hints[contestant.program] = contestant.package
        kept.append(replace(cell, contestants=tuple(names)))
    for program, package_name in hints.items():
        say(f"{program} is not installed, its columns are null: {package_name}")
    if not all(cell.contestants for cell in kept):
        missing("none of the chosen contestants is installed", "; ".join(hints.values()))
    return tuple(kept)


def run_cells(cells: Sequence[Cell], options: argparse.Namespace) -> Runs:
    """Run all cells and print each run."""
    found: Runs = defaultdict(lambda: defaultdict(list))
    for cell in cells:
        for seed, name in cell.runs():
            contestant, split = find(name)
            plan = RunPlan(
                contestant=contestant,
                split=split,
                workload=cell.workload,
                load=cell.load,
                seed=seed,
                warm_up_s=cell.warm_up_s,
                seconds=cell.seconds,
                client_batch=options.client_batch,
                permits=options.permits,
                objective=Objective(online_s=options.objective_ms / 1000),
                cost=cell.cost,
            )
            meter = Meter(plan)
            try:
                figures = run(plan, meter).figures | {"computed_of_capacity": meter.share}
            except RuntimeError as error:  # A contestant that does not start must not end the whole measurement.
                say(f"{cell.name} seed {seed} {name} did not run: {error}")
                continue
            found[cell.name][name].append(figures)
            say(f"{cell.name} seed {seed} {name}: {one_line(figures)}")
    return found


def one_line(figures: dict[str, Any]) -> str:
    """One line about a run."""
    online, bulk, late = figures["online"], figures["bulk"], figures["late_ms"]
    void = f", VOID: generator {late['generator']} ms late, replicas {late['replicas']} ms" if figures["void"] else ""
    return (
        f"online {online['p50_ms']} / {online['p99_ms']} ms, bulk {bulk['p50_ms']} / {bulk['p99_ms']} ms, "
        f"computed {figures['computed_of_capacity']}, statuses {figures['statuses']}{void}"
    )


def run_faults(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Run all faults, and return the rows of their table."""
    names = (options.contestants or "ours").split(",")
    rows = []
    for case in cases(options.stop_s):
        for name in names:
            if options.only is None or case.name in options.only:
                rows.append(measure(case, name))
                say(f"{case.name}, {name}: {rows[-1]}")
    return rows


def main() -> None:
    """Run the command."""
    options = arguments()
    if shutil.which("taskset") is None:
        missing("taskset is not installed", "on Debian or Ubuntu: apt-get install util-linux")
    if cores() < 2:
        missing("two cores are needed, one for the front door and one for the rest", "run it on a larger machine")
    if options.before:
        tell_both(options)
        return
    try:
        cells = () if options.faults else installed(wanted(options))
    except ValueError as error:
        missing(str(error), "see --help")
    say(f"about {total_s(cells) / 60:.0f} minutes, and the faults") if cells else None
    runs = run_cells(cells, options)
    whole = cells and wanted(options) is WHOLE
    faults = run_faults(options) if options.faults or whole else []
    tell(cells, runs, faults, options)


def tell_both(options: argparse.Namespace) -> None:
    """Compare our gateway with another version under faults and report."""
    only = options.only or before_ours.CASES
    chosen_cases = [case for case in cases(options.stop_s) if case.name in only]
    found = before_ours.compare(chosen_cases, versions(options.before), options.seeds or before_ours.SEEDS)
    pairs = {f"{case.name} online_p99_ms": case.p99_pairs() for case in found}
    say("\nnow over before\n" + table(pairs, before_ours.BOUND))
    for case in found:
        say(f"{case.name}: {case.told()}")
    report(**told(pairs, before_ours.BOUND), faults={case.name: case.told() for case in found}, quick=options.quick)


def tell(ran: Sequence[Cell], runs: Runs, faults: list[dict[str, Any]], options: argparse.Namespace) -> None:
    """Print tables and report."""
    cells = {cell: {name: median_figures(some) for name, some in by.items()} for cell, by in runs.items()}
    for cell, contestants in cells.items():
        say("\n" + cell_table(cell, contestants))
    if faults:
        say("\n" + fault_table(faults))
    agreeing = agreement(ran, cells, permits=options.permits)
    if agreeing:
        say("\nsimulated over measured\n" + agreement_table(agreeing))
    gained = gains(ran, cells)
    if gained:
        say("\nover nginx with least_conn: ours measured, exact knowledge simulated\n" + gain_table(gained))
    if options.plots:
        draw(options.plots, ran, cells)
    ours = [figures for by in runs.values() for name, some in by.items() if name == "ours" for figures in some]
    report(
        ratios=ratios(cells.get(_HEADLINE, {})) | throughput(cells.get(_SATURATED, {})),
        counts=add_counts(ours) if ours else dict.fromkeys(("sent", "failed", "wrong", "out_of_order")),
        void=sum(figures["void"] for figures in ours),
        lost=sum(figures["counts"]["lost"] for figures in ours),
        cells=cells,
        faults=faults,
        agreement=agreeing,
        gains=gained,
        quick=options.quick,
    )


if __name__ == "__main__":
    main()
