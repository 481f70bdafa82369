"""The command ``python -m bench.fuzz``."""

import argparse
import asyncio
import sys

import bench.fuzz as package
from bench.fuzz.connections import Plan, measure
from bench.fuzz.loading import FolderFinding, fuzz_folders
from bench.fuzz.numbers import Numbers
from bench.fuzz.run import fuzz
from bench.measuring.report import missing, report, say

_QUOTED = 200
_HOSTILE = {
    "aborted": (10_000, "uploads that break off after 10 kB to 30 MB"),
    "slow": (2_000, "readers that take a little of large replies"),
    "trailers": (5_000, "trailers and chunk extensions that do not end"),
    "tiny": (1_000, "bodies in chunks or segments of a few bytes"),
    "half": (1_000, "parts of requests"),
    "left": (1_000, "whole requests whose clients leave before the answers"),
}


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.fuzz", description=package.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("target", metavar="URL|folder|connections")
    parser.add_argument("--cases", type=int, help="number of cases; 10000 if --seconds is not given either")
    parser.add_argument("--seconds", type=float, help="start no further case after this time")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    of = parser.add_argument_group("connections", "clients of each kind, spread over --seconds (600)")
    for kind, (count, does) in _HOSTILE.items():
        of.add_argument(f"--{kind}", type=int, default=count, help=f"{does}; {count}")
    of.add_argument("--engine", action="store_true", help="attack an engine instead of a gateway")
    of.add_argument(
        "--quick", action="store_true", help="a hundredth of the clients in four seconds; half a minute in all"
    )
    options = parser.parse_args()
    if options.target == "connections":
        _connections(options)
        return
    numbers = Numbers(options.seed, options.first, options.cases, options.seconds)
    found, figures = _folders(numbers) if options.target == "folder" else _requests(options.target, numbers)
    report(cases=numbers.done, seed=options.seed, found=found, **figures)
    sys.exit(bool(found))


def _connections(options: argparse.Namespace) -> None:
    """Fuzz connections and report; exit with 1 if memory did not return or a checked request failed."""
    share = 100 if options.quick else 1
    counts = {kind: getattr(options, kind) // share for kind in _HOSTILE}
    seconds = options.seconds or (4.0 if options.quick else 600.0)
    figures = measure(Plan(seconds, counts, options.engine, options.seed))
    report(seed=options.seed, engine=options.engine, seconds=seconds, **figures)
    sys.exit(bool(figures["failed"]) or not figures["is_memory_back"])


def _folders(numbers: Numbers) -> tuple[int, dict[str, int]]:
    """Fuzz folders, and return the number of findings and further values for the report."""

    def tell(one: FolderFinding) -> None:
        say(f"case {one.number}: {one.kind}, {', '.join(one.changes)}: {one.told}")

    run = fuzz_folders(numbers, tell)
    return len(run.found), {"served": run.served}


def _requests(url: str, numbers: Numbers) -> tuple[int, dict[str, int]]:
    try:
        found = asyncio.run(fuzz(url.rstrip("/"), numbers))
    except (OSError, ValueError) as error:
        missing(str(error), "give the address of a server that speaks TEI's API, or the word folder or connections")
    for one in found:
        request = one.request
        body = request.body[:_QUOTED].decode("utf-8", "backslashreplace")
        say(f"case {one.number}: {request.method} {request.path} {request.content_type} {body}: {one.told}")
    return len(found), {}


if __name__ == "__main__":
    main()
