"""Hostile clients neither grow a gateway or an engine nor fail other requests; speed is not checked here."""

import json
import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="the benchmark pins two cores")


@pytest.mark.parametrize("flags", [[], ["--engine"]], ids=["gateway", "engine"])
def test_hostile_clients_leave_nothing_behind(flags):
    command = [sys.executable, "-m", "bench.fuzz", "connections", "--quick", *flags]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert done.returncode == 0, {key: value for key, value in told.items() if key != "machine"}
    assert told["failed"] == 0
    assert told["pss_end_kb"] - told["pss_start_kb"] <= 5_000
    assert told["done"]["aborted"] > 50
    assert len(told["series"]) > 3
