"""The command ``python -m bench.conformance``."""

import argparse
import sys
from typing import Any

import bench.conformance as package
from bench.conformance.facts import Facts, learn
from bench.conformance.recording import kinds
from bench.conformance.suite import Result, run_suite
from bench.measuring.report import missing, report, say

_QUOTED = 160


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.conformance",
        description=package.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("urls", nargs="+", metavar="URL", help="address of a server, such as http://127.0.0.1:8001")
    parser.add_argument(
        "--recording", choices=kinds(), help="recording to compare with; by default that of the server's kind of model"
    )
    parser.add_argument(
        "--loose", action="store_true", help="do not compare what no client reads, such as positions in texts"
    )
    given = parser.parse_args()
    told: dict[str, Any] = {}
    for url in given.urls:
        address = url.rstrip("/")
        try:
            facts = Facts(given.recording) if given.recording else learn(address)
            told[url] = tell(url, facts, list(run_suite(address, facts, loose=given.loose)))
        except (OSError, ValueError) as error:
            missing(f"{url}: {error}", "give the address of a server that speaks TEI's API")
    report(servers=told)
    sys.exit(any(counts["failed"] for counts in told.values()))


def tell(url: str, facts: Facts, results: list[Result]) -> dict[str, Any]:
    """Print each case that differs, and the counts."""
    for result in results:
        if result.difference is None:
            continue
        request = result.case.request
        sent = request.body[:_QUOTED].decode("utf-8", "backslashreplace")
        what = f"kept ({result.kept})" if result.kept else "FAILED"
        say(
            f"{what} {result.case.name}: {request.method} {request.target} {sent}: "
            f"{result.difference.part}: {result.difference.told}"
        )
    counts = {
        "recording": facts.recording,
        "is_recorded_model": facts.is_recorded,
        "cases": len(results),
        "same": sum(result.difference is None for result in results),
        "failed": sum(result.is_failed for result in results),
        "kept": sum(bool(result.kept) for result in results),
    }
    say(f"{url}{', our gateway' if facts.is_gateway else ''}: {counts}")
    return counts


if __name__ == "__main__":
    main()
