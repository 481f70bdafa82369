"""Processes are found by parent and session, ended as a whole session, and asked for the ports that they listen on."""

import os
import socket
import subprocess
import sys

import pytest

from embedfleet.control.host.process_table import end_session, listens, processes

WAITS = [sys.executable, "-c", "input()"]
# A program with two children in its session; it prints their ids, and ends when its input ends.
PARENT = """
import subprocess, sys
waits = [sys.executable, "-c", "import signal; signal.pause()"]
kids = [subprocess.Popen(waits, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL) for _ in range(2)]
print(*(kid.pid for kid in kids), flush=True)
sys.stdin.read()
"""


def test_a_process_is_found_with_its_parent_and_session():
    with subprocess.Popen(WAITS, stdin=subprocess.PIPE, start_new_session=True) as child:
        rows = {row.pid: row for row in processes()}
        assert rows[child.pid].parent == os.getpid()
        assert rows[child.pid].session == child.pid
        assert rows[os.getpid()].parent == os.getppid()
        assert rows[os.getpid()].session == os.getsid(0)
        child.communicate(b"\n")


def test_a_zombie_is_not_listed():
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert child.pid not in {row.pid for row in processes()}


def test_the_rest_of_a_session_ends_with_its_leader_and_no_other_process():
    with (
        subprocess.Popen(WAITS, stdin=subprocess.PIPE, start_new_session=True) as other,
        subprocess.Popen(
            [sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
        ) as leader,
    ):
        assert leader.stdout is not None
        kids = {int(pid) for pid in leader.stdout.readline().split()}
        leader.communicate()
        assert set(end_session(leader.pid)) == kids
        assert not kids & {row.pid for row in processes()}
        assert end_session(leader.pid) == []
        assert other.poll() is None
        other.communicate(b"\n")


@pytest.mark.parametrize(("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_a_process_listens_on_its_own_ports_and_no_others(family, host):
    with socket.create_server((host, 0), family=family) as server:
        port = server.getsockname()[1]
        assert listens(os.getpid(), port)
        with subprocess.Popen(WAITS, stdin=subprocess.PIPE) as other:
            assert not listens(other.pid, port)
            other.communicate(b"\n")
        with socket.create_connection((host, port)) as client:
            assert not listens(os.getpid(), client.getsockname()[1])
    assert not listens(os.getpid(), port)


def test_a_process_that_has_ended_listens_on_nothing():
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        child.wait()
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert not listens(child.pid, server.getsockname()[1])
