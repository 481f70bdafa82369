"""What is chosen by name on a benchmark's command line."""

import argparse

import pytest

from bench.measuring.names import names_of


def test_known_names_are_taken_in_the_order_given():
    assert names_of(["kill", "kill at 85 %"])("kill at 85 %,kill") == ["kill at 85 %", "kill"]


def test_an_unknown_name_is_an_error_that_tells_those_that_are_known():
    with pytest.raises(argparse.ArgumentTypeError, match="unknown: sigkill; known are: kill, stop"):
        names_of(["kill", "stop"])("kill,sigkill")
