"""Rules on sizes and return types: each finds a planted fault and passes what is just within the limit."""

import pytest

from scripts.house.sizes import (
    MAX_BODY_LINES,
    MAX_FILE_LINES,
    few_tests,
    long_files,
    long_functions,
    ratio_of_tests,
    untyped_returns,
)
from scripts.house.source import Source, body_lines


def source(text, path="src/embedfleet/a.py"):
    return Source.parse(path, text)


def function(lines, docstring=False):
    return "def f() -> None:\n" + '    """Doc.\n\n    More.\n    """\n' * docstring + "    x = 1\n" * lines


@pytest.mark.parametrize(("extra", "faults"), [(0, 0), (1, 1)])
def test_a_file_over_the_limit_is_a_fault(extra, faults):
    assert len(list(long_files([source("x = 1\n" * (MAX_FILE_LINES + extra))]))) == faults


@pytest.mark.parametrize("docstring", [False, True])
@pytest.mark.parametrize(("extra", "faults"), [(0, 0), (1, 1)])
def test_a_body_over_the_limit_is_a_fault_and_its_docstring_does_not_count(extra, faults, docstring):
    assert len(list(long_functions([source(function(MAX_BODY_LINES + extra, docstring))]))) == faults


def test_comments_and_nested_functions_count_towards_a_body():
    text = "def f() -> None:\n    x = 1\n    # why\n\n    def g() -> None:\n        y = 2\n"
    assert [body_lines(found) for found in source(text).functions()] == [5, 1]


def test_a_body_of_a_docstring_alone_has_no_lines():
    assert [body_lines(found) for found in source('def f() -> None:\n    """Doc."""\n').functions()] == [0]


def test_a_function_without_a_return_type_is_a_fault_wherever_it_stands():
    text = "def f() -> None:\n    async def g(): ...\nclass C:\n    def __init__(self): ...\n"
    assert {fault.rpartition(": ")[2].split()[0] for fault in untyped_returns([source(text)])} == {"__init__", "g"}


@pytest.mark.parametrize(("tests", "faults"), [(90, 0), (89, 1)])
def test_too_few_lines_of_tests_are_a_fault(tests, faults):
    ratio = ratio_of_tests([source("x = 1\n" * tests)], [source("x = 1\n" * 100)])
    assert len(list(few_tests(ratio))) == faults
