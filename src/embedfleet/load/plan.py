"""The requests of a run as bytes, each with its expected answer. Pure."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import orjson

from embedfleet.dialects.routes import path_of
from embedfleet.load.workload import Arrival, Kind

BYTES_PER_TOKEN, SPREAD = 4.0, 0.2
_HEAD = "POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"


class Oracle(Protocol):
    """The source of a plan's texts and expected answers."""

    def text(self, name: str, tokens: int, size_bytes: int) -> str:
        """Make a text.

        Args:
            name: Unique name of the text.
            tokens: Number of tokens that the server should count.
            size_bytes: Approximate size, in bytes.
        """

    def vectors(self, texts: Sequence[str]) -> list[list[float]]:
        """Expected answer to ``/embed``, in the order of the texts."""

    def ranks(self, query: str, texts: Sequence[str]) -> list[dict[str, Any]]:
        """Expected answer to ``/rerank``."""


@dataclass(frozen=True, slots=True)
class PlannedCall:
    """One HTTP request.

    Attributes:
        request: All bytes of the request.
        expected: The expected answer, as parsed JSON.
    """

    request: bytes
    expected: list[Any]


@dataclass(frozen=True, slots=True)
class PlannedRequest:
    """One client's request, which is done when all of its calls are answered.

    Attributes:
        at_s: Planned time, in seconds since the start.
        kind: Kind of work.
        tokens: Tokens of all texts.
        calls: Calls that are sent at once; more than one if the client splits its batch.
    """

    at_s: float
    kind: Kind
    tokens: int
    calls: tuple[PlannedCall, ...]


def planned(arrivals: Sequence[Arrival], oracle: Oracle, seed: int, split: int = 0) -> list[PlannedRequest]:
    """Make the requests of arrivals.

    A token is about four bytes of text. Each text has its own ratio, lognormal with sigma 0.2, so that a dispatcher
    that estimates tokens from bytes gets no exact measure.

    Args:
        arrivals: Arrivals in order of time.
        oracle: Source of texts and expected answers.
        seed: Seed of the texts; the same seed makes the same texts.
        split: Texts per call into which clients split a batch; 0 for whole batches.
    """
    source = random.Random(seed)  # noqa: S311 - sizes of texts, not secrets
    return [_planned(arrival, oracle, seed, source, split) for arrival in arrivals]


def _planned(arrival: Arrival, oracle: Oracle, seed: int, source: random.Random, split: int) -> PlannedRequest:
    texts = [
        oracle.text(
            f"{seed}.{arrival.number}.{place}",
            tokens,
            round(tokens * BYTES_PER_TOKEN * source.lognormvariate(0, SPREAD)),
        )
        for place, tokens in enumerate(arrival.tokens)
    ]
    if arrival.kind == "rerank":
        calls = [_rerank(f"query {seed}.{arrival.number}", texts, oracle)]
    elif len(texts) == 1:
        calls = [_embed(texts[0], texts, oracle)]
    else:
        size = split or len(texts)
        calls = [_embed(some, some, oracle) for some in (texts[at : at + size] for at in range(0, len(texts), size))]
    return PlannedRequest(arrival.at_s, arrival.kind, arrival.total, tuple(calls))


def _embed(inputs: str | list[str], texts: list[str], oracle: Oracle) -> PlannedCall:
    return PlannedCall(request_bytes(path_of("embed"), {"inputs": inputs}), list(oracle.vectors(texts)))


def _rerank(query: str, texts: list[str], oracle: Oracle) -> PlannedCall:
    return PlannedCall(
        request_bytes(path_of("rerank"), {"query": query, "texts": texts}), list(oracle.ranks(query, texts))
    )


def request_bytes(path: str, body: object) -> bytes:
    """All bytes of a POST request with a JSON body."""
    content = orjson.dumps(body)
    return _HEAD.format(path=path, length=len(content)).encode() + content
