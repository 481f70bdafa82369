"""Lines are written in order by a thread, dropped if nothing reads them, and dropped lines are counted in a line."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from embedfleet.system.standard_streams import BufferedDescriptor
from tests.services.verb import Pipe

LIMIT_S = 30
SAYS = """
import logging, sys
from embedfleet.log import dropped_lines, set_up
set_up("info", sys.argv[1])
print("first")
logging.getLogger("test").info("second")
print("third", file=sys.stderr)
try:
    int("why")
except ValueError:
    logging.getLogger("test").exception("it broke")
for number in range(int(sys.argv[2])):
    logging.getLogger("test").info("%d %s", number, "x" * 1000)
raise SystemExit("last")
"""


def missing(lines):
    return f"{lines} dropped\n"


@pytest.fixture
def pipe():
    made = Pipe()
    yield made
    made.close()
    os.close(made.theirs)


def until_dropped(outlet, line):
    while not outlet.dropped:
        outlet.write(line)


def test_all_is_written_in_order(pipe):
    outlet = BufferedDescriptor(pipe.theirs, missing)
    for number in range(100):
        outlet.write(b"%d\n" % number)
    outlet.drain(LIMIT_S)
    assert pipe.read(b"99\n").split() == [b"%d" % number for number in range(100)]


def test_lines_over_the_buffer_are_dropped_and_counted_once_the_reader_is_back(pipe):
    outlet = BufferedDescriptor(pipe.theirs, missing, most_bytes=1000)
    pipe.fill()
    until_dropped(outlet, b"a line\n")
    outlet.write(b"of\nthree\nlines\n" + b"x" * 1000)
    assert outlet.dropped == 4
    said = pipe.read(b"4 dropped\n")
    assert said.endswith(b"a line\n4 dropped\n"), "the line about dropped lines is in their place"
    outlet.write(b"goes on\n")
    assert pipe.read(b"goes on") == b"goes on\n"


def test_a_line_larger_than_the_room_is_written_if_nothing_else_waits(pipe):
    outlet = BufferedDescriptor(pipe.theirs, missing, most_bytes=10)
    outlet.write(b"x" * 100 + b"\n")
    assert len(pipe.read(b"\n")) == 101


def test_draining_waits_no_longer_than_its_time_limit(pipe):
    outlet = BufferedDescriptor(pipe.theirs, missing)
    pipe.fill()
    outlet.write(b"a line\n")
    outlet.drain(0.05)  # without this limit, it would wait for ever
    assert outlet.dropped == 0


def test_lines_for_a_full_disk_are_dropped_and_not_tried_again():
    with Path("/dev/full").open("wb", buffering=0) as full:
        outlet = BufferedDescriptor(full.fileno(), missing)
        outlet.write(b"a line\nanother\n")
        outlet.drain(LIMIT_S)  # a writer that tries again would not become idle, and would drop more
        assert outlet.dropped == 2


def test_an_open_file_that_does_not_block_is_waited_for(pipe):
    os.set_blocking(pipe.theirs, False)
    outlet = BufferedDescriptor(pipe.theirs, missing)
    pipe.fill()
    os.set_blocking(pipe.theirs, False)
    outlet.write(b"the end\n")
    assert pipe.read(b"the end\n").endswith(b"\nthe end\n")


@pytest.mark.parametrize("style", ["text", "json"])
def test_all_output_of_a_process_keeps_its_order_to_the_end(style):
    done = subprocess.run(
        [sys.executable, "-c", SAYS, style, "0"], capture_output=True, text=True, timeout=LIMIT_S, check=False
    )
    assert done.stdout == "first\n"
    said = done.stderr
    places = [said.index(word) for word in ("second", "third", "it broke", "Traceback", "last")]
    assert places == sorted(places)
    assert done.returncode == 1


@pytest.mark.parametrize("style", ["text", "json"])
def test_a_process_ends_although_nothing_reads_its_output(pipe, style):
    pipe.fill()
    command = [sys.executable, "-c", SAYS, style, "3000"]
    assert subprocess.run(command, stdout=pipe.theirs, stderr=pipe.theirs, timeout=LIMIT_S, check=False).returncode == 1
