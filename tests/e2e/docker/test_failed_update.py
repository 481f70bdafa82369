"""A failed update leaves the former replicas serving and nothing of its own."""

import shutil
import socket
from pathlib import Path

import pytest

from tests.e2e.docker.test_life import ONE
from tests.services.docker.images import PYTHON
from tests.services.docker.site import QUESTION, Site

GATEWAY = "gateway-embedder-lb"


def broken(site: Site) -> Path:
    """A model that looks complete and cannot be loaded."""
    folder = shutil.copytree(site.folder / "models/bge-m3", site.folder / "models/broken")
    (folder / "tokenizer.json").write_text("{}")  # no check reads its content before the start
    return folder


def check_as_before(site: Site, before: dict[str, str]) -> None:
    assert site.containers == before
    assert site.embedder.post("/embed", QUESTION).status == 200
    assert site.states("embedder") == {f"bge-embedder-tei-{number}": "active" for number in (0, 1)}
    for name in before:
        assert site.client.containers.get(name).attrs["State"]["Status"] == "running"


def test_a_port_in_use_is_refused_before_anything_changes(site: Site):
    site.up(*ONE)
    before = site.containers
    site.kill_controller()
    with socket.create_server(("0.0.0.0", 0)) as other:
        port = other.getsockname()[1]
        refused = site.run("up", *ONE, "--set", f"embedder.port={port}", code=2)
        assert f"port {port} (services.embedder.port) is in use" in refused.stderr
        check_as_before(site, before)
    moved = site.run("doctor", *ONE, "--set", f"embedder.port={port}").stdout
    assert "in use" not in moved


@pytest.mark.parametrize("balancer", ["gateway", "nginx"])
def test_a_model_that_cannot_be_loaded_leaves_the_former_one(site: Site, balancer: str):
    flags = (*ONE, "--set", f"embedder.balancer={balancer}")
    site.up(*flags)
    before = site.containers
    site.kill_controller()
    refused = site.run("up", *flags, "--set", f"embedder.model={broken(site)}", code=None)
    assert "tokenizer.json is not a tokenizer" in refused.stderr
    assert refused.returncode in {1, 2}
    check_as_before(site, before)
    site.up(*flags)
    assert site.containers == before, "the next fleet takes them over"


def test_an_impossible_setting_leaves_the_former_containers(site: Site):
    site.up(*ONE)
    before = site.containers
    site.kill_controller()
    refused = site.run("up", *ONE, "--set", "embedder.pooling=splade", code=None)
    assert refused.returncode in {1, 2}
    check_as_before(site, before)


def test_an_image_that_cannot_serve_leaves_the_former_containers_and_balancer(site: Site):
    """Replicas of the same model are replaced in turn, together with the balancer."""
    site.up(*ONE)
    before = site.containers
    site.kill_controller()
    flags = (*ONE, "--set", f"embedder.image={PYTHON}", "--set", "embedder.balancer=nginx")
    site.run("up", *flags, "--ready-timeout-s", "60", code=1)
    check_as_before(site, before)
