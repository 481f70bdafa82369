"""Answers are judged by comparison with the expected ones."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedfleet.load.verdict import Verdict, judge, worst

RIGHT = [[0.5, 1.0], [0.25, 0.0]]


@pytest.mark.parametrize(
    ("status", "body", "verdict"),
    [
        (200, RIGHT, Verdict.RIGHT),
        (200, RIGHT[::-1], Verdict.OUT_OF_ORDER),
        (200, RIGHT[:1], Verdict.WRONG),
        (200, [RIGHT[0], RIGHT[0]], Verdict.WRONG),
        (200, [[None, None], [0.25, 0.0]], Verdict.WRONG),
        (200, {"error": "x"}, Verdict.WRONG),
        (429, {"error": "x"}, Verdict.REFUSED),
        (503, {"error": "x"}, Verdict.REFUSED),
        (502, RIGHT, Verdict.FAILED),
        (0, RIGHT, Verdict.LOST),
    ],
)
def test_an_answer_is_right_only_if_every_vector_is_in_its_place(status, body, verdict):
    assert judge(status, orjson.dumps(body), RIGHT) is verdict


def test_a_body_that_is_not_json_is_wrong():
    assert judge(200, b"[[0.5,1.0],[0.2<html>", RIGHT) is Verdict.WRONG


@given(st.lists(st.sampled_from(Verdict), min_size=1))
def test_a_request_is_right_only_if_all_of_its_parts_are(verdicts):
    assert (worst(verdicts) is Verdict.RIGHT) == (set(verdicts) == {Verdict.RIGHT})
    if Verdict.WRONG in verdicts:
        assert worst(verdicts) is Verdict.WRONG
