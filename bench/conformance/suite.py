"""A run of all cases of a recording against a server."""

from collections.abc import Iterator
from dataclasses import dataclass

from bench.conformance.asking import ask, wait_for
from bench.conformance.comparison import Difference, difference
from bench.conformance.facts import Facts, recorded_facts
from bench.conformance.foreign import adapted, formal_difference
from bench.conformance.kept import reason
from bench.conformance.recording import Case, read

_MOST_BYTES = 268_435_456  # SPLADE gives thousands of words for each text.


@dataclass(frozen=True, slots=True)
class Result:
    """The result of one case.

    Attributes:
        case: Case as it was asked.
        difference: Difference of the answer; None if there is none.
        kept: Reason why the difference is kept; empty if it is not.
    """

    case: Case
    difference: Difference | None = None
    kept: str = ""

    @property
    def is_failed(self) -> bool:
        """Whether the answer differs without a reason."""
        return self.difference is not None and not self.kept


def run_suite(url: str, facts: Facts, *, loose: bool = False) -> Iterator[Result]:
    """Run all cases that apply to a server.

    Args:
        url: Address of the server.
        facts: Properties of the server.
        loose: Whether to leave out what no client reads, as `comparison` defines it.
    """
    recorded = recorded_facts(facts.recording)
    for case in read(facts.recording):
        asked = case if facts.is_recorded else adapted(case, facts, recorded)
        if asked is None or asked.died:
            continue
        yield run_case(url, asked, facts, loose=loose)


def run_case(url: str, case: Case, facts: Facts, *, loose: bool = False) -> Result:
    """Run one case."""
    answer = ask(url, case.request) if facts.is_recorded else ask(url, case.request, longest=_MOST_BYTES)
    if not answer.status:
        wait_for(url)
    found = difference(case, answer, loose=loose) if facts.is_recorded else formal_difference(case, answer)
    kept = "" if found is None else reason(facts.recording, case, found, is_gateway=facts.is_gateway)
    return Result(case, found, kept)
