"""Regular expressions for input from outside: their time grows in proportion to the input."""

import importlib
import pkgutil
import re
import subprocess
import sys

import pytest

import embedfleet
from embedfleet.gateway.upstream.reply import ReplyMemory

PARTS = ("embedfleet.gateway.", "embedfleet.http.", "embedfleet.dialects.", "embedfleet.probe.", "embedfleet.log")
SEARCHED = {"_BARE_LF", "_CONTROL", "_SOMETHING"}  # the others are matched at one position
# If the time of a pattern grows with the square of the input, one of these takes minutes; else all take milliseconds.
RUN = """
import importlib, sys
module, name, ways = sys.argv[1], sys.argv[2], sys.argv[3:]
pattern = getattr(importlib.import_module(module), name)
for before in ("", "a:", "1;", "1 ;", "[", "http://", "HTTP/1.1 200", "GET "):
    for part in (" ", "\\t", "a", "0", ":", ";", "/", "\\r", "\\n", "a ", ": ", " :", "; ", "\\r\\n", "\\xad"):
        for behind in ("", "\\x00", "x", "\\n"):
            text = before + part * (400_000 // len(part)) + behind
            for way in ways:
                getattr(pattern, way)(text if isinstance(pattern.pattern, str) else text.encode("latin-1"))
"""
LIMIT_S = 60


def patterns():
    """Return the module and name of each pattern."""
    names = [module.name for module in pkgutil.walk_packages(embedfleet.__path__, "embedfleet.")]
    modules = [importlib.import_module(name) for name in names if name.startswith(PARTS)]
    return [(one.__name__, name) for one in modules for name, value in vars(one).items() if type(value) is re.Pattern]


@pytest.mark.parametrize(("module", "name"), patterns())
def test_a_pattern_reads_long_input_once(module, name):
    ways = ["search"] if name in SEARCHED else ["match", "fullmatch"]
    subprocess.run([sys.executable, "-c", RUN, module, name, *ways], timeout=LIMIT_S, check=True)


def test_the_patterns_for_replies_are_among_them():
    assert {("embedfleet.gateway.upstream.reply", "_STATUS_LINE"), ("embedfleet.gateway.upstream.reply", "_FIELD")} <= {
        *patterns()
    }


@pytest.mark.parametrize("value", [b"", b"a", b"a b", b" \t a \t b\t ", b"\xff", b'"a:b"'])
def test_a_value_has_no_blanks_around_it(value):
    head = ReplyMemory().find(b"HTTP/1.1 200 OK\r\nX-A:%b\r\ncontent-length: 1" % value)
    assert head is not None
    assert head.headers == [(b"x-a", value.strip(b" \t"))]


@pytest.mark.parametrize("value", [b"a\rb", b"a\nb", b"a\x00b", b"\x7f"])
def test_a_value_with_control_characters_is_left_to_the_parser(value):
    assert ReplyMemory().find(b"HTTP/1.1 200 OK\r\nX-A: %b\r\ncontent-length: 1" % value) is None
