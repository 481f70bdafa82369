"""A gateway in a container keeps running, and remembers its replicas, while replicas are added and removed."""

import shutil
from pathlib import Path

from tests.e2e.docker.test_life import ONE, answers
from tests.services.docker.daemon import Daemon
from tests.services.docker.site import QUESTION, Site, asking

GATEWAY = "gateway-embedder-lb"
NAMES = [f"bge-embedder-tei-{number}" for number in range(3)]


def shared(site: Site) -> Path:
    return site.folder / ".embedfleet/gateway/embedder"


def test_a_change_of_replicas_fails_no_request_and_keeps_the_gateway(site: Site):
    site.up(*ONE)
    gateway = site.containers[GATEWAY]
    with asking(site.embedder, 500) as failed:
        for count in (3, 1):
            site.kill_controller()
            site.up(*ONE, "--set", f"embedder.replicas={count}")
            assert site.states("embedder") == dict.fromkeys(NAMES[:count], "active")
            assert site.containers.keys() == {GATEWAY, *NAMES[:count]}
    assert failed == []
    assert site.containers[GATEWAY] == gateway


def test_a_gateways_replicas_and_drains_outlive_the_fleet_and_the_daemon(site: Site, daemon: Daemon):
    site.up(*ONE)
    gateway = site.containers[GATEWAY]
    assert shared(site).parent.stat().st_mode & 0o777 == 0o700, "only its owner may reach the socket"
    site.run("drain", NAMES[0])
    site.kill_controller()
    as_told = {NAMES[0]: "drained", NAMES[1]: "active"}
    assert site.states("embedder") == as_told
    daemon.stop()
    daemon.start()
    site.until("an answer", lambda: answers(site))
    site.until("the states before", lambda: site.states("embedder") == as_told)
    site.up(*ONE)
    assert site.states("embedder") == dict.fromkeys(NAMES[:2], "active")
    assert site.containers[GATEWAY] == gateway
    site.down()
    assert not shared(site).exists()


def test_a_gateway_without_its_folder_is_replaced_and_the_replicas_are_taken_over(site: Site):
    site.up(*ONE)
    before = site.containers
    site.kill_controller()
    shutil.rmtree(site.folder / ".embedfleet")
    site.up(*ONE)
    assert {name for name, number in site.containers.items() if before[name] != number} == {GATEWAY}
    assert site.embedder.post("/embed", QUESTION).status == 200
