"""Checks of a reply. Each says what is wrong, in words; pure."""

import math
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import orjson

from bench.conformance.case import Check, Facts
from embedfleet.http.client import Reply

_COMPUTED = (
    "x-compute-type",
    "x-compute-time",
    "x-compute-characters",
    "x-compute-tokens",
    "x-total-time",
    "x-tokenization-time",
    "x-queue-time",
    "x-inference-time",
)
_UNIT = 1e-3


def value_of(reply: Reply) -> Any:  # noqa: ANN401 - whatever the JSON is
    """The body's JSON; None if it is none."""
    try:
        return orjson.loads(reply.body)
    except orjson.JSONDecodeError:
        return None


def header(name: str, expected: str) -> Check:
    """A field has this value."""

    def check(reply: Reply, _: Facts) -> str:
        found = reply.headers.get(name)
        return "" if found == expected else f"header {name} is {found!r}, expected {expected!r}"

    return check


def is_json(reply: Reply, facts: Facts) -> str:
    """A JSON body that says so."""
    return header("content-type", "application/json")(reply, facts) or (
        "" if value_of(reply) is not None else "the body is no JSON"
    )


def is_empty(reply: Reply, _: Facts) -> str:
    """No body."""
    return "" if not reply.body else f"a body of {len(reply.body)} bytes, expected none"


def is_computed(reply: Reply, _: Facts) -> str:
    """The fields that say what it cost are there, times in whole milliseconds."""
    missing = [name for name in _COMPUTED if name not in reply.headers]
    if missing:
        return f"headers {', '.join(missing)} are missing"
    odd = [name for name in _COMPUTED[1:] if not reply.headers[name].isdecimal()]
    if odd:
        return f"header {odd[0]} is {reply.headers[odd[0]]!r}, expected a whole number"
    return "" if reply.headers["x-compute-type"] == "gpu+optimized" else "x-compute-type is not gpu+optimized"


def is_not_computed(reply: Reply, _: Facts) -> str:
    """There is no field that says what it cost."""
    found = [name for name in _COMPUTED if name in reply.headers]
    return f"header {found[0]} is there" if found else ""


def error(kind: str, text: str, *, whole: bool = True) -> Check:
    """TEI's error body, and nothing else; ``whole``: the text is all of it, not its beginning."""
    return _error({"error_type": kind}, "error", text, whole=whole)


def openai_error(code: int, kind: str, text: str) -> Check:
    """OpenAI's error body, and nothing else."""
    return _error({"code": code, "type": kind}, "message", text, whole=True)


def _error(rest: dict[str, object], name: str, text: str, *, whole: bool) -> Check:
    def check(reply: Reply, facts: Facts) -> str:
        value = value_of(reply)
        if not isinstance(value, dict) or value.keys() != {*rest, name}:
            return f"the body is {reply.body[:200]!r}, expected an object of {name}, {', '.join(rest)}"
        told = str(value[name])
        if any(value[key] != want for key, want in rest.items()):
            return f"the body is {reply.body[:200]!r}, expected {rest}"
        fits = told == text if whole else told.startswith(text)
        return is_json(reply, facts) or ("" if fits else f"{name} is {told!r}, expected {text!r}")

    return check


def plain(text: str) -> Check:
    """A body in plain text that begins so: what TEI's framework refuses."""

    def check(reply: Reply, facts: Facts) -> str:
        begins = reply.body.decode("utf-8", "replace")[: len(text)]
        told = "" if begins == text else f"the body begins {reply.body[:120]!r}, expected {text!r}"
        return header("content-type", "text/plain; charset=utf-8")(reply, facts) or told

    return check


def vectors(count: int, *, unit: bool | None = True, cut: int | None = None) -> Check:
    """So many vectors in a list; of length one, of another, or of any; as wide as the model or cut."""

    def check(reply: Reply, facts: Facts) -> str:
        return _are_vectors(value_of(reply), count, cut or facts.dimensions, unit)

    return check


def _are_vectors(rows: object, count: int, width: int, unit: bool | None) -> str:
    if not isinstance(rows, list) or len(rows) != count:
        return f"{len(rows) if isinstance(rows, list) else 'no'} vectors, expected {count}"
    for row in rows:
        if not isinstance(row, list) or not all(isinstance(number, float | int) for number in row):
            return "a vector is no list of numbers"
        if width and len(row) != width:
            return f"a vector of {len(row)} numbers, expected {width}"
        norm = math.sqrt(sum(float(number) ** 2 for number in row))
        if unit is not None and (abs(norm - 1) < _UNIT) != unit:
            return f"a vector of length {norm:.4f}, {'expected 1' if unit else 'expected another than 1'}"
    return ""


def matrices(count: int) -> Check:
    """So many lists of vectors as wide as the model, one for each token."""

    def check(reply: Reply, facts: Facts) -> str:
        value = value_of(reply)
        if not isinstance(value, list) or len(value) != count:
            return f"not {count} lists of vectors"
        return next((told for rows in value if (told := _are_vectors(rows, len(rows), facts.dimensions, None))), "")

    return check


def sparse(count: int) -> Check:
    """So many lists of index and value, by rising index, none of value 0."""

    def check(reply: Reply, _: Facts) -> str:
        value = value_of(reply)
        if not isinstance(value, list) or len(value) != count:
            return f"not {count} lists"
        for row in value:
            if any(entry.keys() != {"index", "value"} or not entry["value"] for entry in row):
                return "an entry is no index with a value"
            indices = [entry["index"] for entry in row]
            if indices != sorted(set(indices)):
                return "indices do not rise"
        return ""

    return check


def ranks(count: int, *, texts: Sequence[str] | None = None, within: tuple[float, float] | None = (0, 1)) -> Check:
    """Each index once, best score first, of equal scores the higher index; texts beside them only if asked."""

    def check(reply: Reply, _: Facts) -> str:
        rows = value_of(reply)
        fields = {"index", "score"} | ({"text"} if texts is not None else set())
        if not isinstance(rows, list) or any(row.keys() != fields for row in rows):
            return f"not a list of {', '.join(sorted(fields))}"
        if sorted(row["index"] for row in rows) != list(range(count)):
            return f"indices are {[row['index'] for row in rows]}, expected each of 0 to {count - 1} once"
        if rows != sorted(rows, key=lambda row: (-row["score"], -row["index"])):
            return "not the best first, of equals the higher index first"
        if texts is not None and any(row["text"] != texts[row["index"]] for row in rows):
            return "a text is not that of its index"
        if within is not None and any(not within[0] <= row["score"] <= within[1] for row in rows):
            return f"a score is not within {within}"
        return ""

    return check


def classes(reply: Reply, facts: Facts) -> str:
    """One text's classes, best first; with one label the score is a sigmoid, with more they add up to 1."""
    return _are_classes(value_of(reply), facts)


def batch_of_classes(count: int) -> Check:
    """The same of so many texts."""

    def check(reply: Reply, facts: Facts) -> str:
        value = value_of(reply)
        if not isinstance(value, list) or len(value) != count:
            return f"not {count} lists of classes"
        return next((told for rows in value if (told := _are_classes(rows, facts))), "")

    return check


def _are_classes(rows: object, facts: Facts) -> str:
    if not isinstance(rows, list) or any(not isinstance(row, dict) or row.keys() != {"score", "label"} for row in rows):
        return "not a list of score and label"
    scores = [row["score"] for row in rows]
    if len(rows) != facts.labels or scores != sorted(scores, reverse=True):
        return f"{len(rows)} classes, expected {facts.labels}, best first"
    if facts.labels > 1 and abs(sum(scores) - 1) > _UNIT:
        return f"scores add up to {sum(scores)}, expected 1"
    return ""


def embeddings(count: int, *, base64: bool = False) -> Check:
    """OpenAI's reply with so many vectors of length one."""

    def check(reply: Reply, facts: Facts) -> str:
        value = value_of(reply)
        if not isinstance(value, dict) or value.keys() != {"object", "data", "model", "usage"}:
            return "not an object of object, data, model, usage"
        data, usage = value["data"], value["usage"]
        if value["object"] != "list" or [row["index"] for row in data] != list(range(count)):
            return f"not a list of {count} rows in order"
        if usage.keys() != {"prompt_tokens", "total_tokens"} or usage["prompt_tokens"] != usage["total_tokens"]:
            return f"usage is {usage}"
        try:
            rows = [_unpacked(row["embedding"]) if base64 else row["embedding"] for row in data]
        except (Base64Error, TypeError, ValueError) as fault:
            return f"an embedding is no base64 of float32: {fault}"
        return _are_vectors(rows, count, facts.dimensions, True)

    return check


def _unpacked(packed: str) -> list[float]:
    return [float(number) for number in np.frombuffer(b64decode(packed, validate=True), dtype="<f4")]


def json_where(told: str, holds: Callable[[Any], bool]) -> Check:
    """The body's JSON is as ``told``."""

    def check(reply: Reply, _: Facts) -> str:
        value = value_of(reply)
        return "" if value is not None and holds(value) else f"the body is {reply.body[:200]!r}, expected {told}"

    return check
