"""The ends of the answers in a compact list are found; a list in another form is left to the parser."""

import json
import re

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedfleet.dialects.splitting import row_ends

numbers = st.floats(width=32, allow_nan=False, allow_infinity=False) | st.integers(-9, 9)
vectors = st.lists(numbers, min_size=1, max_size=4)
labels = st.text(st.sampled_from('ab"\\[]{},: nN') | st.characters(exclude_categories=["Cs"]), max_size=12)
# TEI's fields are always in this order.
terms = st.builds(lambda index, value: {"index": index, "value": value}, st.integers(0, 250_000), numbers)
classes = st.builds(lambda score, label: {"score": score, "label": label}, numbers, labels)
weights = st.dictionaries(st.integers(0, 250_000).map(str), numbers, max_size=4)

SHAPES = {
    "vector": (row_ends.vector_ends, vectors),
    "sparse": (row_ends.sparse_ends, st.lists(terms, max_size=4)),
    "matrix": (row_ends.matrix_ends, st.lists(vectors, min_size=1, max_size=3)),
    "number": (row_ends.number_ends, numbers),
    "prediction": (row_ends.prediction_ends, st.lists(classes, min_size=1, max_size=3)),
    "weight": (row_ends.weight_ends, weights),
}


def slices(reply: bytes, ends: list[int]) -> list[bytes]:
    """The answers that the ends delimit: the first starts at index 1, each other one after a comma."""
    return [reply[start:end] for start, end in zip([1, *(end + 1 for end in ends)], ends, strict=False)]


@pytest.mark.parametrize("shape", SHAPES)
@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_each_answer_of_a_compact_reply_is_found_as_it_was_written(shape, data):
    find, answers = SHAPES[shape]
    rows = data.draw(st.lists(answers, min_size=1, max_size=5))
    reply = orjson.dumps(rows)
    ends = find(reply)
    assert ends is not None
    assert slices(reply, ends) == [orjson.dumps(row) for row in rows]
    assert ends[-1] == len(reply) - 1


@pytest.mark.parametrize("shape", SHAPES)
@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_a_reply_that_was_cut_short_has_no_answers(shape, data):
    find, answers = SHAPES[shape]
    reply = orjson.dumps(data.draw(st.lists(answers, min_size=1, max_size=4)))
    short = reply[: data.draw(st.integers(0, len(reply) - 1))]
    assert find(short) is None


def test_a_label_that_looks_like_the_end_of_a_reply_is_not_taken_for_it():
    whole = orjson.dumps([[{"score": 1.0, "label": 'a"}]]b"}],[{"score":2'}]])
    assert row_ends.prediction_ends(whole) == [len(whole) - 1]
    assert row_ends.prediction_ends(whole[: whole.index(b"]]") + 2]) is None


@pytest.mark.parametrize("shape", [shape for shape in SHAPES if shape != "number"])
@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_spaces_between_the_answers_are_left_to_the_parser(shape, data):
    find, answers = SHAPES[shape]
    rows = data.draw(st.lists(answers, min_size=2, max_size=4))
    ends = find(json.dumps(rows).encode())
    assert ends is None or len(ends) != len(rows)


@pytest.mark.parametrize("shape", ["vector", "matrix", "number", "sparse", "prediction", "weight"])
@pytest.mark.parametrize("hole", [b"null", b"NaN"])
@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_a_hole_in_place_of_a_number_is_never_an_answer(shape, hole, data):
    find, answers = SHAPES[shape]
    rows = data.draw(st.lists(answers, min_size=1, max_size=4))
    marked = _with_mark(rows, data)
    if marked is None:
        return
    reply = orjson.dumps(marked)
    assert reply.count(b"12345678.5") == 1
    assert find(reply.replace(b"12345678.5", hole)) is None


def _with_mark(rows, data):
    """The same answers with one number replaced by one that does not occur elsewhere; None if they have no number."""
    places = []

    def visit(value, set_it):
        if isinstance(value, int | float):
            places.append(set_it)
        elif isinstance(value, list):
            for place, inner in enumerate(value):
                visit(inner, lambda new, value=value, place=place: value.__setitem__(place, new))
        elif isinstance(value, dict):
            for key, inner in value.items():
                if key not in {"label", "index"}:
                    visit(inner, lambda new, value=value, key=key: value.__setitem__(key, new))

    visit(rows, None)
    if not places or re.search(rb"12345678\.5", orjson.dumps(rows)):
        return None
    data.draw(st.sampled_from(places))(12345678.5)
    return rows
