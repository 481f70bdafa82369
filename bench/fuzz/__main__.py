"""``python -m bench.fuzz``: see the package."""

import argparse
import asyncio
import sys

import bench.fuzz as package
from bench.fuzz.loading import FolderFinding, fuzz_folders
from bench.fuzz.numbers import Numbers
from bench.fuzz.run import fuzz
from bench.report import missing, report, say
from embedfleet.errors import UpstreamError

_QUOTED = 200


def main() -> None:
    """See the package."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.fuzz", description=package.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("target", metavar="URL|folder")
    parser.add_argument("--cases", type=int, help="how many; 10000 where nothing is said of the time either")
    parser.add_argument("--seconds", type=float, help="begin no other case after so long")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    options = parser.parse_args()
    numbers = Numbers(options.seed, options.first, options.cases, options.seconds)
    found, figures = _folders(numbers) if options.target == "folder" else _requests(options.target, numbers)
    report(cases=numbers.done, seed=options.seed, found=found, **figures)
    sys.exit(bool(found))


def _folders(numbers: Numbers) -> tuple[int, dict[str, int]]:
    """How many findings, and what else is to be reported."""

    def tell(one: FolderFinding) -> None:
        say(f"case {one.number}: {one.kind}, {', '.join(one.changes)}: {one.told}")

    run = fuzz_folders(numbers, tell)
    return len(run.found), {"served": run.served}


def _requests(url: str, numbers: Numbers) -> tuple[int, dict[str, int]]:
    try:
        found = asyncio.run(fuzz(url.rstrip("/"), numbers))
    except (UpstreamError, ValueError) as error:
        missing(str(error), "give the address of a server that speaks TEI's API, or the word folder")
    for one in found:
        request = one.request
        body = request.body[:_QUOTED].decode("utf-8", "backslashreplace")
        say(f"case {one.number}: {request.method} {request.path} {request.content_type} {body}: {one.told}")
    return len(found), {}


if __name__ == "__main__":
    main()
