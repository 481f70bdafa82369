"""``python -m bench.conformance``: see the package."""

import argparse
import asyncio
import sys
from typing import Any

import bench.conformance as package
from bench.conformance.case import Facts
from bench.conformance.suite import Result, run_suite
from bench.report import missing, report, say
from embedfleet.errors import UpstreamError

_QUOTED = 120


def main() -> None:
    """See the package."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.conformance",
        description=package.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("urls", nargs="+", metavar="URL", help="such as http://127.0.0.1:8001")
    told: dict[str, Any] = {}
    for url in parser.parse_args().urls:
        try:
            facts, results = asyncio.run(run_suite(url.rstrip("/")))
        except (UpstreamError, ValueError) as error:
            missing(str(error), "give the address of a server that speaks TEI's API")
        told[url] = tell(url, facts, results)
    report(servers=told)
    sys.exit(any(counts["failed"] for counts in told.values()))


def tell(url: str, facts: Facts, results: list[Result]) -> dict[str, Any]:
    """A line for each failure, and the counts."""
    failed = [result for result in results if result.faults]
    for result in failed:
        case = result.case
        sent = case.data[:_QUOTED].decode("utf-8", "backslashreplace")
        say(f"FAILED {case.name}: {case.method} {case.path} {sent}: {'; '.join(result.faults)}")
    counts = {
        "cases": len(results),
        "passed": sum(not result.faults and not result.excused for result in results),
        "failed": len(failed),
        "excused": sum(result.excused for result in results),
        "loose": sum(result.case.is_loose for result in results),
    }
    say(f"{url}, {facts.kind}{', our gateway' if facts.is_gateway else ''}: {counts}")
    return {"kind": facts.kind, **counts}


if __name__ == "__main__":
    main()
