"""A schedule's requests as bytes, and what each must be answered. Pure."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from bench.fake_tei.oracle import ranking, score_of, text_of, vector_of
from bench.workload import Arrival, Kind

BYTES_PER_TOKEN, SPREAD = 4.0, 0.2
_HEAD = "POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Part:
    """One HTTP request: ``wire`` is all of its bytes, ``expected`` its answer as JSON has it."""

    wire: bytes
    expected: list[Any]


@dataclass(frozen=True, slots=True)
class Planned:
    """What one client asks at one time; done when all parts are.

    Attributes:
        at_s: since the start.
        kind: what is asked for.
        tokens: of all texts.
        parts: sent at once; more than one where the client cuts its batch.
    """

    at_s: float
    kind: Kind
    tokens: int
    parts: tuple[Part, ...]


def planned(arrivals: Sequence[Arrival], seed: int, cut: int = 0) -> list[Planned]:
    """The requests of arrivals.

    A token is four bytes of text, give or take: each text has its own ratio, lognormal with sigma 0.2, because a
    dispatcher that estimates tokens from bytes must not be given an exact measure.

    Args:
        arrivals: in order of time.
        seed: makes the texts; the same seed makes the same.
        cut: texts that a batch is cut into by the client, 0 for none.
    """
    source = random.Random(seed)
    return [_planned(arrival, seed, source, cut) for arrival in arrivals]


def _planned(arrival: Arrival, seed: int, source: random.Random, cut: int) -> Planned:
    texts = [
        text_of(
            f"{seed}.{arrival.number}.{place}",
            tokens,
            round(tokens * BYTES_PER_TOKEN * source.lognormvariate(0, SPREAD)),
        )
        for place, tokens in enumerate(arrival.tokens)
    ]
    if arrival.kind == "rerank":
        parts = [_rerank(f"query {seed}.{arrival.number}", texts)]
    elif len(texts) == 1:
        parts = [_embed(texts[0], texts)]
    else:
        size = cut or len(texts)
        parts = [_embed(some, some) for some in (texts[at : at + size] for at in range(0, len(texts), size))]
    return Planned(arrival.at_s, arrival.kind, arrival.total, tuple(parts))


def _embed(inputs: str | list[str], texts: list[str]) -> Part:
    return Part(wire("/embed", {"inputs": inputs}), [vector_of(text) for text in texts])


def _rerank(query: str, texts: list[str]) -> Part:
    scores = [score_of(query, text) for text in texts]
    ranks = [{"index": index, "score": scores[index]} for index in ranking(scores)]
    return Part(wire("/rerank", {"query": query, "texts": texts}), ranks)


def wire(path: str, body: object) -> bytes:
    """A request's bytes."""
    content = orjson.dumps(body)
    return _HEAD.format(path=path, length=len(content)).encode() + content
