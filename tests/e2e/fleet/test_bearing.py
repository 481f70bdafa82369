"""Replicas that are processes: what a fleet must bear, see `tests.services.bearing`."""

import os
import signal

import pytest

from tests.services.bearing import bears_a_killed_replica, bears_a_replica_that_stands_still
from tests.services.fleet import Fleet, fleet

pytestmark = pytest.mark.slow


class Processes:
    def __init__(self, running: Fleet):
        self.client = running.embedder
        self._fleet = running
        self._pid = running.replicas("embedder")[0]["pid"]

    def kill(self):
        os.kill(self._pid, signal.SIGKILL)

    def stop(self):
        os.kill(self._pid, signal.SIGSTOP)

    def go_on(self):
        os.kill(self._pid, signal.SIGCONT)

    def until_whole(self, restarts):
        self._fleet.until_active("embedder", restarts)


@pytest.mark.parametrize("bears", [bears_a_killed_replica, bears_a_replica_that_stands_still])
def test_nobody_notices(tmp_path, bears):
    with fleet(tmp_path, "--set", "reranker.enabled=false") as running:
        bears(Processes(running))
