"""Recorded cases for a server with another model: adapted requests, and a comparison of the answers' form.

Cases that depend on the recorded model are left out: its prompts, exact tokens and vectors.
"""

import re
from dataclasses import replace
from typing import Any

import orjson

from bench.conformance.comparison import Difference, fields, short, value
from bench.conformance.facts import Facts
from bench.conformance.recording import Answer, Body, Case

_OF_THE_MODEL = re.compile(r"exact|one over|payload|/decode keep|/tokenize unicode")  # names of cases
_KNOWN_PROMPT = re.compile(rb'"prompt_name": "(query|passage)"')
_LONG_WORDS = 60
_MOST_OVER = 1  # texts beyond or below the limit in a recorded request
_AT_THE_LIMIT = (31, 32)  # numbers of answers to such requests
_COUNTED = {"x-compute-characters", "x-compute-tokens"}
_NUMBERS = re.compile(r"\d+")
_LIMIT = re.compile(r"less than \d+ tokens\. Given: \d+|batch size \d+ > maximum allowed batch size \d+")
_PROMPTS = re.compile(r'but (it was not found in|no prompts were found in).*?(?=","error_type)')


def adapted(case: Case, facts: Facts, recorded: Facts) -> Case | None:
    """A case adapted to a server's limits; None if it does not apply to that server's model.

    Args:
        case: Recorded case.
        facts: Properties of the server.
        recorded: Properties of the recorded server.
    """
    if case.died or _OF_THE_MODEL.search(case.name) or _KNOWN_PROMPT.search(case.request.body):
        return None
    if case.request.path == "/predict" and case.answer.status == 200 and not facts.is_cross_encoder:
        return None
    try:
        body = orjson.loads(case.request.body)
    except orjson.JSONDecodeError:
        return case
    if not isinstance(body, dict):
        return case
    asked = body.get("dimensions")
    if type(asked) is int and asked >= recorded.dimensions:
        body["dimensions"] = asked - recorded.dimensions + facts.dimensions
    elif type(asked) is int and asked > facts.dimensions:
        return None
    sized = _sized(body, facts, recorded)
    if sized == orjson.loads(case.request.body):
        return case
    return replace(case, request=replace(case.request, body=orjson.dumps(sized)))


def formal_difference(case: Case, got: Answer) -> Difference | None:
    """The difference in status, form or headers from the recorded answer, for any model."""
    expected = case.answer
    if expected.status != got.status:
        return Difference("status", f"TEI {expected.status} {short(expected)}, this server {got.status} {short(got)}")
    forms = _form(case, expected), _form(case, got)
    if forms[0] != forms[1]:
        return Difference("body", f"TEI {short(expected)}, this server {short(got)}")
    theirs, ours = (
        {(name, "" if name in _COUNTED else told) for name, told in fields(answer)} for answer in (expected, got)
    )
    if theirs != ours:
        return Difference("headers", f"only TEI {sorted(theirs - ours)}, only this server {sorted(ours - theirs)}")
    return None


def _sized(item: Any, facts: Facts, recorded: Facts) -> Any:  # noqa: ANN401 - JSON
    """JSON whose lists and texts near the recorded server's limits are resized to this server's."""
    if isinstance(item, dict):
        return {key: _sized(one, facts, recorded) for key, one in item.items()}
    if isinstance(item, str):
        times = -(-facts.length // recorded.length) if item.count(" ") > _LONG_WORDS else 1
        return " ".join([item] * times)
    if isinstance(item, list):
        over = len(item) - recorded.batch
        if -_MOST_OVER <= over <= _MOST_OVER and all(one == item[0] for one in item):
            return [item[0]] * (facts.batch + over)
        return [_sized(one, facts, recorded) for one in item]
    return item


def _form(case: Case, answer: Answer) -> Any:  # noqa: ANN401
    found = value(answer, loose=False)
    if case.request.path == "/info" and isinstance(found, dict):
        return [key for key in found if key not in {"engine", "gateway"}]
    if case.request.path in {"/metrics", "/docs/", "/api-doc/openapi.json"}:
        return None
    if answer.status != 200 or not isinstance(found, dict | list):
        return _without_numbers(answer.body)
    return _shape(found, is_outer=not _is_resized(case))


def _is_resized(case: Case) -> bool:
    """Whether a request had about as many inputs as allowed, so that its resized copy has another number of answers."""
    texts = value(case.answer, loose=False)
    return isinstance(texts, list) and len(texts) in _AT_THE_LIMIT


def _without_numbers(body: Body) -> Body:
    """A refusal without its limits and prompt names."""
    if not isinstance(body, str):
        return body
    text = _LIMIT.sub(lambda told: _NUMBERS.sub("N", told.group()), body)
    return _PROMPTS.sub("but …", text)


def _shape(item: Any, *, is_outer: bool) -> Any:  # noqa: ANN401
    """The types of a value; inner lists have only the type of their items, and no length."""
    if isinstance(item, dict):
        return {key: _shape(one, is_outer=is_outer) for key, one in item.items()}
    if isinstance(item, list):
        shapes = [_shape(one, is_outer=False) for one in item]
        kinds = sorted({repr(shape) for shape in shapes})
        is_of_labels = any(isinstance(one, dict) and "label" in one for one in item)
        return ["list", len(item) if is_outer and not is_of_labels else None, kinds[:1]]
    return "number" if isinstance(item, int | float) and not isinstance(item, bool) else type(item).__name__
