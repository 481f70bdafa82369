"""One definition gives an option its flag, its words, its parsing and its check."""

from dataclasses import dataclass
from typing import Literal

import pytest

from embedfleet.config.option import option, options_of


@dataclass(frozen=True, slots=True)
class Record:
    count: int = option(3, "how many", minimum=1, maximum=9)
    wait_s: float = option(1.5, "how long", minimum=0)
    shared: bool = option(True, "whether")
    color: Literal["red", "blue"] = option("red", "which")
    workers: int | Literal["auto"] = option("auto", "how many, or as many as there are", minimum=1)
    name: str = option("", "what it is called")
    plain: int = 0


OPTIONS = options_of(Record)


def test_fields_without_a_help_are_no_options():
    assert list(OPTIONS) == ["count", "wait_s", "shared", "color", "workers", "name"]


def test_name_type_and_default_are_the_fields_own():
    assert (OPTIONS["count"].default, OPTIONS["count"].types, OPTIONS["wait_s"].flag) == (3, (int,), "--wait-s")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("count", "a whole number, 1 to 9"),
        ("wait_s", "a number, at least 0"),
        ("shared", "true or false"),
        ("color", '"red" or "blue"'),
        ("workers", 'a whole number or "auto", at least 1'),
        ("name", "a text"),
    ],
)
def test_what_an_option_takes_is_said_in_words(name, words):
    assert OPTIONS[name].takes == words


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("count", 1),
        ("count", 9),
        ("wait_s", 0),
        ("wait_s", 2.5),
        ("color", "blue"),
        ("workers", "auto"),
        ("workers", 4),
    ],
)
def test_values_in_bounds_may_stand(name, value):
    assert OPTIONS[name].check(value) == ""


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("count", 0, "0 is below 1"),
        ("count", 10, "10 is above 9"),
        ("count", "three", "'three' is not a whole number, 1 to 9"),
        ("count", 3.0, "3.0 is not a whole number, 1 to 9"),
        ("count", True, "True is not a whole number, 1 to 9"),
        ("wait_s", True, "True is not a number, at least 0"),
        ("wait_s", float("nan"), "nan is not a number, at least 0"),
        ("wait_s", float("inf"), "inf is not a number, at least 0"),
        ("shared", 1, "1 is not true or false"),
        ("color", "green", '\'green\' is not "red" or "blue"'),
        ("workers", "all", "'all' is not a whole number or \"auto\", at least 1"),
        ("name", 5, "5 is not a text"),
        ("name", ["a"], "['a'] is not a text"),
    ],
)
def test_any_other_value_is_refused_with_what_is_taken(name, value, problem):
    assert OPTIONS[name].check(value) == problem


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("count", "5", 5),
        ("wait_s", "2", 2.0),
        ("shared", "False", False),
        ("shared", "yes", True),
        ("workers", "7", 7),
        ("workers", "auto", "auto"),
        ("name", "5", "5"),
    ],
)
def test_a_flags_text_becomes_a_value(name, text, value):
    parsed = OPTIONS[name].parse(text)
    assert (parsed, type(parsed)) == (value, type(value))


@pytest.mark.parametrize(
    ("name", "text"), [("count", "3.5"), ("shared", "maybe"), ("wait_s", "soon"), ("wait_s", "nan")]
)
def test_a_text_that_is_no_value_is_left_for_the_check_to_refuse(name, text):
    assert OPTIONS[name].check(OPTIONS[name].parse(text))
