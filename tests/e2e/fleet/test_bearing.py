"""A fleet of processes hides failures from its clients (`tests.services.bearing`)."""

import json
import os
import signal
from pathlib import Path

import pytest

from tests.services.bearing import LYING, OF_ANY, OF_LIARS
from tests.services.fleet import Fleet, fleet, run_cli

pytestmark = pytest.mark.slow

ONE = ("--set", "reranker.enabled=false")


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

    def run(self, *arguments):
        result = run_cli(self._fleet.folder, *arguments)
        assert result.returncode == 0, result.stderr

    @property
    def rows(self):
        return self._fleet.replicas("embedder")

    @property
    def admin(self):
        fleets = json.loads((self._fleet.folder / ".embedfleet/fleet.json").read_text())["socket"]
        return str(Path(fleets).with_name("embedder.sock"))


@pytest.mark.parametrize("bears", OF_ANY)
def test_clients_notice_no_failure(tmp_path, bears):
    with fleet(tmp_path, *ONE) as running:
        bears(Processes(running))


def test_clients_notice_no_fault_of_a_replica(tmp_path):
    places = [str(LYING), *filter(None, [os.environ.get("PYTHONPATH")])]
    with fleet(tmp_path, *ONE, env={"PYTHONPATH": os.pathsep.join(places)}) as running:
        for bears in OF_LIARS:
            bears(Processes(running))
