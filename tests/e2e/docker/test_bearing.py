"""A fleet of containers hides failures from its clients (`tests.services.bearing`)."""

import os
from collections.abc import Iterator

import pytest

from embedfleet.control.balancers.gateway_folder import GatewayFolder, socket_in
from tests.services.bearing import OF_ANY, OF_LIARS
from tests.services.docker.images import LIAR
from tests.services.docker.site import Site

ONE = ("--set", "reranker.enabled=false")
NAME = "bge-embedder-tei-0"


class Containers:
    def __init__(self, site: Site, folder: int):
        self.client = site.embedder
        self.admin = socket_in(folder)
        self._site = site
        self._container = site.client.containers.get(NAME)

    def kill(self):
        self._container.kill()

    def stop(self):
        self._container.pause()

    def go_on(self):
        self._container.unpause()

    def until_whole(self, restarts):
        self._site.until("restarts", lambda: sum(row["restarts"] for row in self.rows) >= restarts)
        self._site.until_active("embedder")

    def run(self, *arguments):
        self._site.run(*arguments)

    @property
    def rows(self):
        return [row for service in self._site.status["services"] for row in service["replicas"]]


@pytest.fixture
def folder(site: Site) -> Iterator[int]:
    """Descriptor of the folder that the gateway shares with the host: its path may be too long for a socket."""
    shared = GatewayFolder(site.folder / ".embedfleet/gateway/embedder")
    shared.prepare()
    descriptor = shared.open()
    yield descriptor
    os.close(descriptor)


@pytest.mark.parametrize("bears", OF_ANY)
def test_clients_notice_no_failure(site: Site, folder: int, bears):
    site.up(*ONE)
    bears(Containers(site, folder))


def test_clients_notice_no_fault_of_a_replica(site: Site, folder: int):
    site.up(*ONE, "--set", f"embedder.image={LIAR}")
    for bears in OF_LIARS:
        bears(Containers(site, folder))
