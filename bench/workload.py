"""What clients ask, when: arrivals drawn from a seed, the same for the simulator and for the benchmark in real time.

Arrivals are a Poisson process. Their rate is set so that the tokens offered per second are ``load`` times what the
replicas work off with full batches.
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


@dataclass(frozen=True, slots=True)
class Cost:
    """What one batch costs a replica: ``a_s + b_s * tokens``; padded, ``tokens`` is texts times the longest.

    Attributes:
        a_s: seconds per batch.
        b_s: seconds per token.
        batch_tokens: the most that one batch holds (TEI's ``max_batch_tokens``).
        padded: whether each text costs as much as the longest of its batch.
    """

    a_s: float = 0.003
    b_s: float = 1 / 150_000
    batch_tokens: int = 16_384
    padded: bool = False

    def seconds(self, tokens: list[int]) -> float:
        """Of one batch of texts with these tokens."""
        return self.a_s + self.b_s * self.work(len(tokens), sum(tokens), max(tokens))

    def work(self, texts: int, tokens: int, longest: int) -> int:
        """Tokens that a batch of so many texts and tokens makes a replica compute, padding included."""
        return texts * longest if self.padded else tokens

    @property
    def tokens_per_s(self) -> float:
        """With full batches."""
        return self.batch_tokens / (self.a_s + self.b_s * self.batch_tokens)


MEASURED = Cost(a_s=0.006, b_s=1 / 75_000)
"""Of the replicas of the benchmark in real time: twice the default, so that a millisecond of jitter is little."""


def measured_cost(workload: str) -> Cost:
    """What the benchmark in real time takes for a workload: `MEASURED`, but where that would be too many requests.

    Short queries alone are 20 tokens each: at 75,000 tokens per second and replica, 10,000 of them per second would
    be a benchmark of the generator.
    """
    return Cost(MEASURED.a_s, 1 / 5_000) if workload == "short" else MEASURED


@dataclass(frozen=True, slots=True)
class Arrival:
    """One client request.

    Attributes:
        number: 0, 1, 2, …; names it.
        at_s: since the start.
        kind: what the client asks for.
        tokens: of each of its texts.
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
    """Tokens of a query with one passage to be ranked: lognormal around 200."""
    return max(16, min(LONGEST, round(random.lognormvariate(math.log(200), 0.6))))


def batch(random: random.Random, text: Callable[[random.Random], int] = document) -> tuple[int, ...]:
    """Somebody's indexing: 32 to 512 texts, log-uniform."""
    texts = round(math.exp(random.uniform(math.log(32), math.log(512))))
    return tuple(text(random) for _ in range(texts))


def title(random: random.Random) -> int:
    """Tokens of a title or a line of a log: lognormal around 40."""
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


def _rerank(random: random.Random) -> tuple[Kind, tuple[int, ...]]:
    return "rerank", tuple(passage(random) for _ in range(random.randint(50, 100)))


WORKLOADS: dict[str, Draw] = {
    "short": _short,  # one query of about 18 tokens
    "docs": _docs,  # one document
    "mix": _mix,  # four queries for each batch of 32 to 512 documents: bulk is 99.9 % of the tokens
    "mixbal": _mixbal,  # one batch in 250 requests: queries are 6 % of the tokens
    "titles": _titles,  # the mix, of texts that are a tenth as long
    "rerank": _rerank,  # 50 to 100 pairs
}


@cache
def mean_tokens(draw: Draw) -> float:
    """Of one request, from a sample that is the same each time."""
    source = random.Random(1)
    sample = 20_000
    return sum(sum(draw(source)[1]) for _ in range(sample)) / sample


def arrivals(workload: str, load: float, capacity: float, seconds: float, seed: int) -> list[Arrival]:
    """The requests of one run, in order of time.

    Args:
        workload: a name of `WORKLOADS`.
        load: offered tokens over ``capacity``.
        capacity: tokens per second of all replicas with full batches.
        seconds: of arrivals.
        seed: the same seed gives the same requests at the same times.
    """
    draw = WORKLOADS[workload]
    rate = load * capacity / mean_tokens(draw)
    source = random.Random(seed)
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
    """The same requests, as many as make the load what is asked for, their times stretched to fill the run.

    In half a minute of the mix at 85 %, the tokens of a few large batches make it anything from 64 to 114 %: the
    difference between a fleet at ease and one that is lost, and no property of who balances it.
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
