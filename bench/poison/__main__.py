"""The command ``python -m bench.poison``."""

import argparse
import shutil
from pathlib import Path
from typing import Any

import uvloop

import bench.poison as package
from bench.contestants import CONTESTANTS, Contestant, of_source
from bench.measuring.report import missing, report, say
from bench.measuring.versions import versions
from bench.poison.run import PoisonPlan, run
from bench.poison.series import result, series, table
from embedfleet.system.cgroup import cores

_QUICK = PoisonPlan(bodies=2, times=20, every_s=1.0, back_s=0.5)


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.poison", description=package.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="two bodies twenty times, some seconds")
    parser.add_argument("--before", type=Path, metavar="CHECKOUT", help="also run our gateway from this checkout")
    parser.add_argument(
        "--contestants", metavar="A,B", default="ours", help=f"front doors, some of {', '.join(CONTESTANTS)}"
    )
    parser.add_argument("--texts", type=int, default=1, help="texts of a poisonous request; the last one is poison")
    parser.add_argument("--pause-s", type=float, default=0.0, help="pause of a poisonous client between two requests")
    return parser.parse_args()


def contestants(options: argparse.Namespace) -> list[Contestant]:
    """The front doors to run, one after the other."""
    names = options.contestants.split(",")
    if unknown := [name for name in names if name not in CONTESTANTS]:
        missing(f"{unknown[0]!r} is none of {', '.join(CONTESTANTS)}", "see --help")
    found = [CONTESTANTS[name] for name in names]
    for one in found:
        if not one.installed:
            missing(f"{one.program} is not installed", one.package)
    return [*found, *([of_source(versions(options.before)[1], "before")] if options.before else ())]


def main() -> None:
    """Run the command."""
    options = arguments()
    if shutil.which("taskset") is None:
        missing("taskset is not installed", "on Debian or Ubuntu: apt-get install util-linux")
    if cores() < 2:
        missing("two cores are needed, one for the front door and one for the rest", "run it on a larger machine")
    plan = _QUICK if options.quick else PoisonPlan(texts=options.texts, pause_s=options.pause_s)
    runs: dict[str, Any] = {}
    for contestant in contestants(options):
        say(f"{contestant.name}: {plan.seconds:.0f} s")
        seen = uvloop.run(run(plan, contestant))
        runs[contestant.name] = result(seen) | {"series": series(seen)}
        say(f"{table(runs[contestant.name]['series'])}\n{contestant.name}: {result(seen)}")
    holds = {name: found["holds"] for name, found in runs.items()}
    report(holds=holds, runs=runs, quick=options.quick)


if __name__ == "__main__":
    main()
