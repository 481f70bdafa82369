"""``python -m bench.fuzz``: see the package."""

import argparse
import asyncio
import sys

import bench.fuzz as package
from bench.fuzz.run import fuzz
from bench.report import missing, report, say
from embedfleet.errors import UpstreamError

_QUOTED = 200


def main() -> None:
    """See the package."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.fuzz", description=package.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("url", metavar="URL")
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    try:
        found = asyncio.run(fuzz(options.url.rstrip("/"), options.cases, options.seed))
    except (UpstreamError, ValueError) as error:
        missing(str(error), "give the address of a server that speaks TEI's API")
    for one in found:
        request = one.request
        body = request.body[:_QUOTED].decode("utf-8", "backslashreplace")
        say(f"case {one.number}: {request.method} {request.path} {request.content_type} {body}: {one.told}")
    report(cases=options.cases, seed=options.seed, found=len(found))
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
