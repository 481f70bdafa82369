"""Fuzzing of a server: send changed requests and check the answers."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass

import orjson

from bench.conformance.facts import learn
from bench.conformance.recording import read
from bench.fuzz.mutation import Request, mutated
from bench.fuzz.numbers import Numbers
from embedfleet.errors import UpstreamError
from embedfleet.http.client import Reply, fetch

_TIMEOUT_S = 60.0
_MOST_BYTES = 268_435_456  # maximum size of a reply; SPLADE gives thousands of words for each text
_CHECK_EVERY = 50
_LARGEST = 200_000
# Our engine's answer to an unexpected error (engine/api/app).
_FELL_THROUGH = b"internal error"
_MAIN = {"embedder": "/embed", "splade": "/embed_sparse", "classifier": "/predict"}


@dataclass(frozen=True, slots=True)
class Finding:
    """A wrong answer."""

    number: int
    request: Request
    told: str


def judge(reply: Reply, method: str = "POST") -> str:
    """The fault of an answer to a request of that method; empty if there is none."""
    if reply.status >= 500:
        return f"status {reply.status}: {reply.body[:200]!r}"
    if _FELL_THROUGH in reply.body:
        return f"status {reply.status}, an unexpected error of our engine: {reply.body[:200]!r}"
    if reply.status < 200 or (300 <= reply.status < 400 and "location" not in reply.headers):
        return f"status {reply.status}"
    if method != "HEAD" and reply.headers.get("content-type", "").startswith("application/json"):
        try:
            orjson.loads(reply.body)
        except orjson.JSONDecodeError as error:
            return f"status {reply.status} with a body that is not JSON: {error}"
    return ""


def good_request(kind: str) -> Request:
    """A request that must be answered with 200."""
    if kind == "reranker":
        return Request("POST", "/rerank", b'{"query":"q","texts":["a"]}', "application/json")
    return Request("POST", _MAIN[kind], b'{"inputs":"a"}', "application/json")


def _known_requests(kind: str) -> Iterator[Request]:
    """The recorded requests for a kind of model."""
    for case in read(kind):
        asked = case.request
        if len(asked.body) < _LARGEST and not case.died:
            yield Request(asked.method, asked.target, asked.body, dict(asked.headers).get("content-type"))


async def fuzz(url: str, numbers: Numbers) -> list[Finding]:
    """Run cases and give the findings.

    Raises:
        OSError: The server does not answer.
        ValueError: The server does not answer as TEI does.
    """
    kind = (await asyncio.to_thread(learn, url)).recording
    known = list(_known_requests(kind))
    found = []
    for number in numbers:
        random = numbers.chance(number)
        request = mutated(random.choice(known), random)
        if told := await _told(url, request):
            found.append(Finding(number, request, told))
        if number % _CHECK_EVERY == _CHECK_EVERY - 1 and (told := await _told(url, good_request(kind), want=200)):
            found.append(Finding(number, good_request(kind), f"after it a good request: {told}"))
    return found


async def _told(url: str, request: Request, want: int | None = None) -> str:
    headers = [(b"content-type", request.content_type.encode())] if request.content_type else []
    try:
        reply = await fetch(
            url + request.path,
            method=request.method,
            body=request.body,
            headers=headers,
            timeout_s=_TIMEOUT_S,
            most_bytes=_MOST_BYTES,
        )
    except UpstreamError as error:
        return f"no answer: {error}"
    if want is not None and reply.status != want:
        return f"status {reply.status}, expected {want}: {reply.body[:200]!r}"
    return judge(reply, request.method)
