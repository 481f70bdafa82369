"""The rule on mocks finds libraries of mocks and replaced attributes of our own code."""

import pytest

from scripts.house.mocks import EXCEPTIONS, mocks
from scripts.house.source import Source


def faults(text, path="tests/test_a.py"):
    return [fault.split(": ", 1)[1] for fault in mocks([Source.parse(path, text)])]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("import unittest.mock\n", "imports unittest.mock"),
        ("from unittest import mock\n", "imports unittest.mock"),
        ("from unittest.mock import patch\n", "imports unittest.mock.patch"),
        ("def test(mocker): ...\n", "uses the fixture mocker"),
        ("def test(monkeypatch):\n    monkeypatch.setattr(thing, 'run', 1)\n", "replaces an attribute of thing"),
        (
            "def test(monkeypatch):\n    monkeypatch.setattr('embedfleet.log.now', 1)\n",
            "replaces an attribute of 'embedfleet.log.now'",
        ),
        ("from embedfleet.log import Line\nsetattr(Line, 'x', 1)\n", "replaces an attribute of Line"),
        ("from embedfleet import log\nlog.now = 1\n", "replaces log.now"),
    ],
)
def test_a_mock_is_a_fault(text, fault):
    assert faults(text) == [fault]


@pytest.mark.parametrize(
    "text",
    [
        "def test(monkeypatch):\n    monkeypatch.setattr('huggingface_hub.constants.X', 1)\n",
        "def test(monkeypatch):\n    monkeypatch.setenv('X', '1')\n",
        "from embedfleet.log import Line\nline = Line()\nline.x = 1\nsetattr(line, 'x', 2)\n",
    ],
)
def test_other_code_the_environment_and_our_own_objects_are_no_fault(text):
    assert faults(text) == []


@pytest.mark.parametrize("path", EXCEPTIONS)
def test_a_listed_exception_may_replace_but_may_not_import_a_library_of_mocks(path):
    assert faults("from embedfleet import log\nlog.now = 1\nimport unittest.mock\n", path) == ["imports unittest.mock"]
