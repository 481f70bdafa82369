"""The activity of processes that are stopped, compute, read files, or have descendants that do."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from embedfleet.control.host.activity import activity_of
from embedfleet.control.lifecycle.liveness import Activity

WAITS = "input()"
SPINS = "print(flush=True)\nwhile True: pass"
READS = "print(flush=True)\nfile = open('/dev/zero', 'rb', buffering=0)\nwhile True: file.read(100_000)"
CHILD = "import subprocess, sys\nsubprocess.run([sys.executable, '-c', {!r}], stdin=subprocess.DEVNULL)"
THREAD = "import threading\nthreading.Thread(target=exec, args=({!r},)).start()"


@contextmanager
def program(code: str) -> Iterator[int]:
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    ) as process:
        try:
            yield process.pid
        finally:
            os.killpg(process.pid, signal.SIGKILL)


def seen(pid: int) -> Activity:
    activity = activity_of(pid)
    assert activity is not None
    return activity


def until_still(pid: int) -> Activity:
    """Return the activity of a process once it has begun to wait."""
    while (before := seen(pid)).is_busy or seen(pid) != before:
        os.sched_yield()
    return before


def test_a_waiting_process_is_idle():
    with program(WAITS) as pid:
        before = until_still(pid)
        assert not before.is_stopped
        assert seen(pid) == before


@pytest.mark.parametrize("place", ["{}", THREAD, CHILD])
def test_work_is_counted_in_threads_and_children_too(place):
    with program(SPINS if place == "{}" else place.format(SPINS)) as pid:
        before = seen(pid)
        while seen(pid).cpu_s <= before.cpu_s + 0.05:
            os.sched_yield()
        while not seen(pid).is_busy:
            os.sched_yield()


@pytest.mark.parametrize("place", ["{}", CHILD])
def test_reads_are_counted_in_children_too(place):
    with program(READS if place == "{}" else place.format(READS)) as pid:
        before = seen(pid)
        while seen(pid).bytes_read <= before.bytes_read + 1_000_000:
            os.sched_yield()


def test_a_stopped_process_or_child_is_seen_until_it_continues():
    with program(CHILD.format("import os\nprint(os.getpid(), flush=True)\n" + SPINS)) as pid:
        child = 0
        while not child:
            with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as children:  # noqa: PTH123
                child = int(children.read() or 0)
        for stopped in (pid, child):
            os.kill(stopped, signal.SIGSTOP)
            while not seen(pid).is_stopped:
                os.sched_yield()
            os.kill(stopped, signal.SIGCONT)
            while seen(pid).is_stopped:
                os.sched_yield()


def test_an_ended_process_has_no_activity():
    process = subprocess.Popen([sys.executable, "-c", ""])
    while activity_of(process.pid) is not None:
        os.sched_yield()
    process.wait()
    assert activity_of(process.pid) is None


def test_a_process_outside_the_container_has_no_activity():
    assert activity_of(os.getpid(), container="0123456789abcdef") is None
