"""Asks a server all cases for its kind of model."""

from dataclasses import dataclass

import orjson

from bench.conformance.case import JSON_TYPE, Case, Facts, Kind
from bench.conformance.cases import cases
from embedfleet.http.client import fetch

_TIMEOUT_S = 60.0
_MOST_BYTES = 268_435_456  # of a reply: SPLADE names thousands of words of each text


@dataclass(frozen=True, slots=True)
class Result:
    """One case, and all that was wrong."""

    case: Case
    faults: list[str]
    excused: bool = False


async def learn(url: str) -> Facts:
    """What a server says of itself.

    Raises:
        ValueError: it does not answer ``/info`` as TEI does.
        UpstreamError: it does not answer at all.
    """
    reply = await fetch(f"{url}/info", timeout_s=_TIMEOUT_S)
    try:
        info = orjson.loads(reply.body)
        (kind, about), *_ = info["model_type"].items()
        batch, length = int(info["max_client_batch_size"]), int(info["max_input_length"])
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{url}/info answers {reply.status} {reply.body[:200]!r}: {error!r}") from error
    labels = len(about.get("id2label", {"": ""})) if isinstance(about, dict) else 1
    told: Kind = "splade" if kind == "embedding" and about.get("pooling") == "splade" else kind
    dimensions = await _dimensions(url) if told == "embedding" else 0
    is_cross_encoder = (info.get("engine") or {}).get("scoring") is None
    return Facts(told, "gateway" in info, batch, length, dimensions, labels, is_cross_encoder)


async def _dimensions(url: str) -> int:
    reply = await fetch(
        f"{url}/embed",
        method="POST",
        body=b'{"inputs":"a"}',
        headers=[(b"content-type", JSON_TYPE.encode())],
        timeout_s=_TIMEOUT_S,
    )
    return len(orjson.loads(reply.body)[0])


async def run_case(url: str, case: Case, facts: Facts) -> Result:
    """Ask once; what our gateway rightly answers otherwise is not asked of one."""
    if case.differs and facts.is_gateway:
        return Result(case, [], excused=True)
    headers = [(b"content-type", case.content_type.encode())] if case.content_type else []
    reply = await fetch(
        url + case.path,
        method=case.method,
        body=case.data,
        headers=headers,
        timeout_s=_TIMEOUT_S,
        most_bytes=_MOST_BYTES,
    )
    return Result(case, case.faults(reply, facts))


async def run_suite(url: str) -> tuple[Facts, list[Result]]:
    """All cases, one after the other."""
    facts = await learn(url)
    return facts, [await run_case(url, case, facts) for case in cases(facts)]
