"""Random requests of clients and their times, from a seed; the simulator and the load generator share them.

Arrivals are a Poisson process. Its rate is such that the offered tokens per second are ``load`` times the tokens that
the replicas compute per second with full batches.
"""

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from itertools import count
from typing import Literal

Kind = Literal["online", "bulk", "rerank"]
LONGEST = 8192
"""Maximum number of tokens in a text."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """One client request.

    Attributes:
        number: Number of the request, from 0.
        at_s: Time of arrival, in seconds since the start.
        kind: Kind of work.
        tokens: Tokens of each text.
    """

    number: int
    at_s: float
    kind: Kind
    tokens: tuple[int, ...]

    @property
    def total(self) -> int:
        """Tokens of all texts."""
        return sum(self.tokens)


def short_text(random: random.Random) -> int:
    """Tokens of a query: lognormal around 18."""
    return max(3, min(512, round(random.lognormvariate(math.log(18), 0.5))))


def document(random: random.Random) -> int:
    """Tokens of a document: lognormal around 250 with sigma 1, at most 8,192; 412 on average."""
    return max(8, min(LONGEST, round(random.lognormvariate(math.log(250), 1.0))))


def passage(random: random.Random) -> int:
    """Tokens of a query with one passage to rank: lognormal around 200."""
    return max(16, min(LONGEST, round(random.lognormvariate(math.log(200), 0.6))))


def batch(random: random.Random, text: Callable[[random.Random], int] = document) -> tuple[int, ...]:
    """Tokens of each text of an indexing batch: 32 to 512 texts, log-uniform."""
    texts = round(math.exp(random.uniform(math.log(32), math.log(512))))
    return tuple(text(random) for _ in range(texts))


def title(random: random.Random) -> int:
    """Tokens of a title or a log line: lognormal around 40."""
    return max(8, min(512, round(random.lognormvariate(math.log(40), 0.6))))


Draw = Callable[[random.Random], tuple[Kind, tuple[int, ...]]]


def _short(random: random.Random) -> tuple[Kind, tuple[int, ...]]:
    return "online", (short_text(random),)


def _docs(random: random.Random) -> tuple[Kind, tuple[int, ...]]:
    return "online", (document(random),)


def _mix(random: random.Random) -> tuple[Kind, tuple[int, ...]]:
    return _short(random) if random.random() < 0.8 else ("bulk", batch(random))


def _titles(random: random.Random) -> tuple[Kind, tuple[int, ...]]:
    return _short(random) if random.random() < 0.8 else ("bulk", batch(random, title))


def _mixbal(random: random.Random) -> tuple[Kind, tuple[int, ...]]:
    return _short(random) if random.random() >= 0.004 else ("bulk", batch(random))


def _title_batches(random: random.Random) -> tuple[Kind, tuple[int, ...]]:
    return "bulk", batch(random, title)


def _rerank(random: random.Random) -> tuple[Kind, tuple[int, ...]]:
    return "rerank", tuple(passage(random) for _ in range(random.randint(50, 100)))


WORKLOADS: dict[str, Draw] = {
    "short": _short,  # one query of about 18 tokens
    "docs": _docs,  # one document
    "mix": _mix,  # four queries for each batch of 32 to 512 documents: bulk is 99.9 % of the tokens
    "mixbal": _mixbal,  # one batch in 250 requests: queries are 7 % of the tokens
    "titles": _titles,  # the mix with titles in place of documents
    "title-batches": _title_batches,  # batches of titles
    "rerank": _rerank,  # 50 to 100 pairs
}


@cache
def mean_tokens(draw: Draw) -> float:
    """Mean tokens of a request, from a fixed sample."""
    source = random.Random(1)  # noqa: S311 - a sample, not secrets
    sample = 20_000
    return sum(sum(draw(source)[1]) for _ in range(sample)) / sample


def arrivals(workload: str, load: float, capacity: float, seconds: float, seed: int) -> list[Arrival]:
    """The requests of one run, in order of time.

    Args:
        workload: Name of a workload in `WORKLOADS`.
        load: Offered tokens per second over ``capacity``.
        capacity: Tokens per second of all replicas with full batches.
        seconds: Length of the run.
        seed: Seed; the same seed gives the same requests at the same times.
    """
    draw = WORKLOADS[workload]
    rate = load * capacity / mean_tokens(draw)
    source = random.Random(seed)  # noqa: S311 - requests, not secrets
    found: list[Arrival] = []
    at = 0.0
    for number in count():
        at += source.expovariate(rate)
        if at >= seconds:
            return found
        kind, tokens = draw(source)
        found.append(Arrival(number, at, kind, tokens))
    raise AssertionError("count() does not end")


def exact_arrivals(workload: str, load: float, capacity: float, seconds: float, seed: int) -> list[Arrival]:
    """The first requests of `arrivals` that add up to the load, with times stretched to fill the run.

    Without this, a few large batches change the load of a short run so much that the fleet may be idle or overloaded.
    That difference would be no property of the balancer.

    Args:
        workload: Name of a workload in `WORKLOADS`.
        load: Offered tokens per second over ``capacity``.
        capacity: Tokens per second of all replicas with full batches.
        seconds: Length of the run.
        seed: Seed; the same seed gives the same requests at the same times.
    """
    wanted = load * capacity * seconds
    drawn = arrivals(workload, load, capacity, seconds, seed)
    factor = 1.0
    while not drawn or sum(arrival.total for arrival in drawn) < wanted + drawn[-1].total:
        factor *= 1.5
        drawn = arrivals(workload, load, capacity, seconds * factor, seed)
    kept: list[Arrival] = []
    total = 0
    for arrival in drawn:
        if kept and total + arrival.total / 2 > wanted:
            break
        kept.append(arrival)
        total += arrival.total
    scale = seconds / drawn[len(kept)].at_s
    return [replace(arrival, at_s=arrival.at_s * scale) for arrival in kept]
