"""A fleet takes over and removes only what it can prove is its own."""

import shutil

from tests.e2e.docker.test_life import ONE
from tests.services.docker.site import QUESTION, Site
from tests.services.fleet import free_ports

SECOND = (*ONE, "--state-dir", ".second", "--network", "second-net", "--set", "embedder.upstream=second")


def test_two_fleets_in_one_folder_leave_each_other_alone(site: Site):
    site.up(*ONE)
    first = site.containers
    second = (*SECOND, "--set", f"embedder.port={free_ports(1)[0]}", "--set", "embedder.balancer_in=process")
    with_process = (*second, "--set", "embedder.replicas=1")
    try:
        site.up(*with_process)
        assert site.containers.items() > first.items()
        for name in first:
            site.client.containers.get(name).stop(timeout=0)
    finally:
        site.run("down", *with_process)
    assert site.containers == first
    assert [network.name for network in site.client.networks.list(names=["tei-net"])] == ["tei-net"]


def test_a_copy_of_a_fleets_folder_is_another_fleet(site: Site, tmp_path_factory):
    site.up(*ONE)
    before = site.containers
    site.kill_controller()
    there = site.folder
    site.folder = shutil.copytree(
        there, tmp_path_factory.mktemp("copy") / "folder", symlinks=True, ignore=shutil.ignore_patterns("*.sock")
    )
    assert "are left alone" in site.run("down").stderr
    refused = site.run("up", *ONE, code=2)
    assert f"belongs to the fleet in {there}" in refused.stderr
    site.folder = there
    assert site.containers == before
    assert site.embedder.post("/embed", QUESTION).status == 200


def test_a_fleet_whose_state_folder_was_lost_knows_its_containers(site: Site):
    site.up(*ONE)
    site.kill_controller()
    shutil.rmtree(site.folder / ".embedfleet")
    site.run("down")
    assert site.containers == {}
