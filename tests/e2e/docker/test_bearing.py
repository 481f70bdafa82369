"""Replicas that are containers: what a fleet must bear, see `tests.services.bearing`."""

import pytest

from tests.services.bearing import bears_a_killed_replica, bears_a_replica_that_stands_still
from tests.services.docker.site import Site

NAME = "bge-embedder-tei-0"


class Containers:
    def __init__(self, site: Site):
        self.client = site.embedder
        self._site = site
        self._container = site.client.containers.get(NAME)

    def kill(self):
        self._container.kill()

    def stop(self):
        self._container.pause()

    def go_on(self):
        self._container.unpause()

    def until_whole(self, restarts):
        self._site.until("restarts", lambda: self._restarts() >= restarts)
        self._site.until_active("embedder")

    def _restarts(self):
        rows = [row for service in self._site.status["services"] for row in service["replicas"]]
        return sum(row["restarts"] for row in rows)


@pytest.mark.parametrize("bears", [bears_a_killed_replica, bears_a_replica_that_stands_still])
def test_nobody_notices(site: Site, bears):
    site.up("--set", "reranker.enabled=false")
    bears(Containers(site))
