"""Comparison of an answer with the expected one. Pure."""

from enum import Enum
from typing import Any

import orjson


class Verdict(Enum):
    """Verdict on the answer to one HTTP request."""

    RIGHT = "right"
    WRONG = "wrong"  # 200 with other items than expected
    OUT_OF_ORDER = "out of order"  # 200 with the expected items in another order
    REFUSED = "refused"  # 429 or 503: retry later
    FAILED = "failed"  # any other status
    LOST = "lost"  # no answer


def judge(status: int, body: bytes, expected: list[Any]) -> Verdict:
    """Compare one complete reply with the expected answer.

    Args:
        status: Status of the reply, 0 if there was none.
        body: Body of the reply.
        expected: Expected items in their order.
    """
    if status == 0:
        return Verdict.LOST
    if status in (429, 503):
        return Verdict.REFUSED
    if status != 200:
        return Verdict.FAILED
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError:
        return Verdict.WRONG
    if answer == expected:
        return Verdict.RIGHT
    if not isinstance(answer, list) or len(answer) != len(expected):
        return Verdict.WRONG
    has_same_items = sorted(map(orjson.dumps, answer)) == sorted(map(orjson.dumps, expected))
    return Verdict.OUT_OF_ORDER if has_same_items else Verdict.WRONG


_WORST_FIRST = (Verdict.WRONG, Verdict.OUT_OF_ORDER, Verdict.LOST, Verdict.FAILED, Verdict.REFUSED, Verdict.RIGHT)


def worst(verdicts: list[Verdict]) -> Verdict:
    """The worst verdict of several calls."""
    return min(verdicts, key=_WORST_FIRST.index)
