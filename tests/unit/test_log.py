"""A log line is for a person, or one JSON object with the event's fields."""

import json
import logging
import sys

import pytest

from embedfleet.log import JsonFormatter, TextFormatter


def record(message: str, *values: object, **fields: object) -> logging.LogRecord:
    made = logging.getLogger("test").makeRecord("test", logging.WARNING, "file", 1, message, values, None, extra=fields)
    made.created, made.msecs = 0.25, 250.0
    return made


@pytest.fixture
def failed():
    made = record("it broke")
    try:
        int("why")
    except ValueError:
        made.exc_info = sys.exc_info()
    return made


def test_a_text_line_has_time_level_and_message():
    assert TextFormatter().format(record("%s is here", "r0")) == "1970-01-01T00:00:00.250Z warning r0 is here"


def test_what_a_client_says_is_no_line_of_its_own():
    """`%0a` in a path made one, which looked like ours."""
    forged = "GET /\n1970-01-01T00:00:00.250Z warning all is lost\x1b[2J\u2028\u202e\x85\r"
    line = TextFormatter().format(record("%s", forged))
    assert len(line.splitlines()) == 1
    assert line.isprintable()
    assert TextFormatter().format(record("été 你好")).endswith("été 你好"), "what is printable stays"


def test_nor_is_what_it_says_in_a_traceback():
    made = record("it broke")
    try:
        int("why\n1970-01-01T00:00:00.250Z warning all is lost")
    except ValueError:
        made.exc_info = sys.exc_info()
    first, *others = TextFormatter().format(made).splitlines()
    assert first.endswith("it broke")
    assert all(line.startswith("  ") for line in others)


def test_a_json_line_is_one_object_with_the_events_own_fields():
    line = JsonFormatter().format(record("été\n%s", "x", replica="r0", path=object))
    assert "\n" not in line
    assert json.loads(line) == {
        "time": "1970-01-01T00:00:00.250Z",
        "level": "warning",
        "logger": "test",
        "message": "été\nx",
        "replica": "r0",
        "path": str(object),
    }


def test_a_failure_brings_its_traceback(failed):
    assert TextFormatter().format(failed).endswith("'why'")
    assert json.loads(JsonFormatter().format(failed))["traceback"].endswith("'why'")
