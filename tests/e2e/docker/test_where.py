"""A balancer may listen at a single address or on IPv6, and a process may be replaced by a container."""

import pytest

from tests.e2e.docker.test_life import ONE
from tests.services.docker.site import QUESTION, Site
from tests.services.engine import Client


@pytest.mark.parametrize(("balancer", "host"), [("nginx", "127.0.0.2"), ("gateway", "::1")])
def test_a_balancer_published_at_one_address_is_asked_there(site: Site, balancer: str, host: str):
    site.up(*ONE, "--set", f"embedder.host={host}", "--set", f"embedder.balancer={balancer}", "--ready-timeout-s", "60")
    (service,) = site.status["services"]
    assert service["port"] == site.ports[0]
    client = Client(site.ports[0], host=host)
    assert client.post("/embed", QUESTION).status == 200


def test_a_balancer_that_was_a_process_is_reported_and_may_become_a_container(site: Site):
    flags = (*ONE, "--set", "embedder.balancer=nginx")
    site.up(*flags, "--set", "embedder.balancer_in=process")
    site.kill_controller()
    assert "bge-embedder-tei-0" in site.run("status", code=1).stdout
    assert site.status["services"][0]["gateway"]["phase"] == "gone"
    site.up(*flags, "--set", "embedder.balancer_in=container")
    assert site.embedder.post("/embed", QUESTION).status == 200
    assert site.client.containers.get("nginx-embedder-lb").attrs["RestartCount"] == 0
