"""A fault of one container or of one call to the daemon affects no other container."""

import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.docker.test_life import ONE
from tests.services.docker.faulty import faulty
from tests.services.docker.images import NGINX, TEI
from tests.services.docker.site import QUESTION, RANKING, Site

NAME = "bge-embedder-tei-0"


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder whose path is short enough for a socket."""
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="eff-") as name:
        yield Path(name)


def reason(site: Site, name: str) -> str:
    rows = [row for service in site.status["services"] for row in service["replicas"] if row["id"] == name]
    return str(rows[0].get("reason", ""))


def test_a_foreign_container_with_a_replicas_name_affects_only_that_replica(site: Site):
    site.up()
    controller = site.status["pid"]
    os.kill(controller, signal.SIGSTOP)
    site.client.containers.get(NAME).remove(force=True)
    foreign = site.client.containers.create(NGINX, name=NAME)
    os.kill(controller, signal.SIGCONT)
    site.until("a reason that names the foreign container", lambda: "embedfleet did not make" in reason(site, NAME))
    assert site.embedder.post("/embed", QUESTION).status == 200
    assert site.reranker.post("/rerank", RANKING).status == 200
    assert site.containers[NAME] == foreign.id
    foreign.remove(force=True)
    site.until_active("embedder")


def test_a_replica_that_was_disconnected_from_the_network_is_connected_again(site: Site):
    site.up(*ONE)
    before = site.containers
    network = site.client.networks.get("tei-net")
    network.disconnect(NAME, force=True)
    site.until("the network", lambda: NAME in on(site))
    site.until_active("embedder")
    assert site.containers == before
    site.kill_controller()
    network.disconnect(NAME, force=True)
    site.up(*ONE)
    assert NAME in on(site)


def on(site: Site) -> set[str]:
    """Return the names of the containers on the network; the daemon marks endpoints that are being made."""
    return {each["Name"] for each in site.client.api.inspect_network("tei-net")["Containers"].values()}


def test_a_container_that_cannot_be_created_affects_only_its_replica(site: Site, short: Path):
    site.up(*ONE)
    with faulty(site.env["DOCKER_HOST"], short, rf"POST .*/containers/create\?name={NAME}") as host:
        site.kill_controller()
        site.client.containers.get(NAME).remove(force=True)
        failed = site.run("up", *ONE, "--docker-host", host, code=1)
    assert "a fault of the daemon" in failed.stderr
    assert site.embedder.post("/embed", QUESTION).status == 200
    assert NAME not in site.containers
    site.up(*ONE)
    assert TEI["turing"] in site.client.containers.get(NAME).image.tags


@pytest.mark.parametrize("call", [r"GET .*/containers/bge-embedder-tei-1/json", r"GET .*/containers/json"])
def test_an_error_of_the_daemon_while_containers_are_taken_over_removes_none(site: Site, short: Path, call: str):
    site.up(*ONE)
    before = site.containers
    site.kill_controller()
    with faulty(site.env["DOCKER_HOST"], short, call, spared=1) as host:
        failed = site.run("up", *ONE, "--docker-host", host, code=1)
    assert "a fault of the daemon" in failed.stderr
    assert site.containers == before
    assert site.embedder.post("/embed", QUESTION).status == 200


def test_an_unremovable_or_invalid_container_does_not_keep_others_from_being_removed(site: Site, short: Path):
    site.up(*ONE)
    site.kill_controller()
    labels = site.client.containers.get(NAME).labels
    site.client.containers.create(NGINX, name="garbled", labels=labels | {"io.embedfleet.port": "eighty"})
    assert site.embedder.post("/embed", QUESTION).status == 200
    site.run("status", code=1)
    stuck = site.containers[NAME]
    with faulty(site.env["DOCKER_HOST"], short, rf"DELETE .*/containers/{stuck}") as host:
        failed = site.run("down", "--docker-host", host, code=1)
    assert f"{NAME} cannot be removed" in failed.stderr
    assert site.containers == {NAME: stuck}
    site.run("down")
    assert site.containers == {}
