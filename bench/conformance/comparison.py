"""Comparison of a server's answer with that of a real TEI. Pure.

The strict comparison leaves out only what differs from call to call: times, dates, framing. The loose one also leaves
out what no client reads: positions in refusals of the JSON library, descriptions of broken JSON, pages, names of
metrics, the server's own name and limits.
"""

import re
import struct
from base64 import b64decode
from binascii import Error as Base64Error
from dataclasses import dataclass
from typing import Any

import orjson

from bench.conformance.recording import Answer, Case

TOLERANCE = 2e-3
"""Tolerance of numbers: TEI's own kernels differ by that much from machine to machine."""

_CHANGING = frozenset({
    "date", "x-compute-time", "x-total-time", "x-tokenization-time", "x-queue-time", "x-inference-time",
    "x-request-id", "content-length", "connection", "keep-alive", "transfer-encoding",
})  # fmt: skip
_OWN = frozenset({
    "model_id", "served_model_name", "max_batch_requests", "tokenization_workers", "version", "sha", "engine",
})  # fmt: skip
_PAGES = ("/metrics", "/docs/", "/docs/index.html", "/api-doc/openapi.json")
_POSITION = re.compile(r" at line \d+ column \d+$")
_NO_JSON = "Failed to parse the request body as JSON"
_EXPECTED = re.compile(
    r"expected struct \w+( with \d+ elements)?$|expected an object$|invalid length 0, .*|invalid type: sequence, .*"
)
_PROMPTS = "Available prompts: ["
_LEAST_BASE64 = 20


@dataclass(frozen=True, slots=True)
class Difference:
    """A difference between two answers: ``status``, ``body`` or ``headers``, with details."""

    part: str
    told: str


def difference(case: Case, got: Answer, *, loose: bool = False) -> Difference | None:
    """The difference from the recorded answer; None if there is none or if TEI did not answer."""
    expected = case.answer
    if case.died or (loose and case.request.target in _PAGES and expected.status == got.status):
        return None
    if expected.status != got.status:
        return Difference("status", f"TEI {expected.status} {short(expected)}, this server {got.status} {short(got)}")
    if not near(value(expected, loose=loose), value(got, loose=loose)):
        return Difference("body", f"TEI {short(expected)}, this server {short(got)}")
    theirs, ours = fields(expected), fields(got)
    if theirs != ours:
        return Difference("headers", f"only TEI {sorted(theirs - ours)}, only this server {sorted(ours - theirs)}")
    return None


def near(one: Any, other: Any) -> bool:  # noqa: ANN401 - a JSON value
    """Whether two JSON values are equal, numbers within `TOLERANCE`."""
    if isinstance(one, float) or isinstance(other, float):
        return isinstance(one, int | float) and isinstance(other, int | float) and abs(one - other) <= TOLERANCE
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(near(one[key], other[key]) for key in one)
    if isinstance(one, list):
        if _is_sparse(one) and _is_sparse(other):
            return _near_sparse(one, other)
        return len(one) == len(other) and all(map(near, one, other))
    if isinstance(one, str) and one != other and len(one) == len(other) > _LEAST_BASE64:
        numbers = _numbers(one), _numbers(other)
        return bool(numbers[0]) and near(*numbers)
    return bool(one == other)


def value(answer: Answer, *, loose: bool) -> Any:  # noqa: ANN401
    """The compared value of a body: its JSON, or its text if it is not JSON."""
    found: Any = answer.body
    if isinstance(found, str):
        try:
            found = orjson.loads(found)
        except orjson.JSONDecodeError:
            return _loosened(found) if loose else found
    if isinstance(found, dict):
        found = {key: _in_order(item) for key, item in found.items()}
        if loose and "model_id" in found:
            found = {key: item for key, item in found.items() if key not in _OWN}
    return found


def _loosened(text: str) -> str:
    if text.startswith(_NO_JSON):
        return _NO_JSON
    return _EXPECTED.sub("", _POSITION.sub("", text))


def _in_order(item: Any) -> Any:  # noqa: ANN401
    """A text with sorted prompt names, which TEI lists in any order."""
    if isinstance(item, str) and _PROMPTS in item:
        return " ".join(sorted(re.split(r"[ \[\],]+", item)))
    return item


def _is_sparse(rows: list[Any]) -> bool:
    return bool(rows) and all(isinstance(row, dict) and row.keys() == {"index", "value"} for row in rows)


def _near_sparse(one: list[Any], other: list[Any]) -> bool:
    """Whether two sparse vectors are equal; words of negligible weight may be missing."""
    weights = [{row["index"]: float(row["value"]) for row in rows} for rows in (one, other)]
    return all(near(weights[0].get(index, 0.0), weights[1].get(index, 0.0)) for index in weights[0].keys() | weights[1])


def _numbers(text: str) -> list[float]:
    """Numbers of float32 in base64; empty if the text is something else."""
    try:
        return [number for (number,) in struct.iter_unpack("<f", b64decode(text, validate=True))]
    except (Base64Error, ValueError, struct.error):
        return []


def fields(answer: Answer) -> set[tuple[str, str]]:
    """The headers of an answer except those that differ from call to call."""
    return {(name.lower(), told) for name, told in answer.headers if name.lower() not in _CHANGING}


def short(answer: Answer) -> str:
    """The beginning of a body, for people."""
    return repr(str(answer.body)[:200])
