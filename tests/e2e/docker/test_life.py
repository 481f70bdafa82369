"""Containers outlive their controller, are taken over, replaced one at a time, and removed on request."""

import signal

import pytest

from tests.services.docker.site import QUESTION, RANKING, Site, asking
from tests.services.fleet import LIMIT_S

ONE = ("--set", "reranker.enabled=false")


def test_up_twice_changes_nothing_and_a_changed_setting_only_what_it_touches(site: Site):
    site.up()
    first = site.containers
    site.kill_controller()
    site.up()
    assert site.containers == first
    site.kill_controller()
    site.up("--set", "reranker.max_client_batch_size=16")
    now = site.containers
    changed = {name for name in now if now[name] != first[name]}
    assert changed == {"bge-reranker-tei-0", "bge-reranker-tei-1"}


def test_a_killed_controller_leaves_the_containers_serving_and_status_and_down_need_none(site: Site):
    site.up()
    site.kill_controller()
    assert site.embedder.post("/embed", QUESTION).status == 200
    assert site.reranker.post("/rerank", RANKING).status == 200
    status = site.run("status", "--json")
    assert '"running": false' in status.stdout
    assert site.states("embedder") == {"bge-embedder-tei-0": "active", "bge-embedder-tei-1": "active"}
    result = site.run("down")
    assert "removed gateway-embedder-lb" in result.stderr
    assert site.containers == {}
    assert "no fleet runs" in site.run("down").stderr


def test_fewer_replicas_and_another_balancer_leave_no_old_containers(site: Site):
    site.up(*ONE)
    site.kill_controller()
    site.up(*ONE, "--set", "embedder.replicas=1", "--set", "embedder.balancer=nginx")
    assert sorted(site.containers) == ["bge-embedder-tei-0", "nginx-embedder-lb"]
    assert site.embedder.post("/embed", QUESTION).headers["server"].startswith("nginx")


@pytest.mark.parametrize("balancer", ["gateway", "nginx"])
def test_a_killed_replica_costs_no_request_and_comes_back(site: Site, balancer):
    site.up(*ONE, "--set", f"embedder.balancer={balancer}")
    with asking(site.embedder, 500) as failed:
        site.client.containers.get("bge-embedder-tei-0").kill()
        site.until("a restart", lambda: restarts(site, "bge-embedder-tei-0") > 0)
        site.until_active("embedder")
    assert failed == []


@pytest.mark.parametrize("balancer", ["gateway", "nginx"])
def test_replicas_stopped_by_hand_one_after_the_other_cost_no_request_and_come_back(site: Site, balancer):
    site.up(*ONE, "--set", f"embedder.balancer={balancer}")
    with asking(site.embedder, 1000) as failed:
        for name in ("bge-embedder-tei-0", "bge-embedder-tei-1"):
            before = restarts(site, name)
            site.client.containers.get(name).stop(timeout=20)
            site.until(f"a restart of {name}", lambda name=name, before=before: restarts(site, name) > before)
            site.until_active("embedder")
    assert failed == []


@pytest.mark.parametrize("balancer", ["gateway", "nginx"])
def test_replacing_every_replica_costs_no_request(site: Site, balancer):
    flags = (*ONE, "--set", f"embedder.balancer={balancer}")
    site.up(*flags)
    before = site.containers
    site.kill_controller()
    with asking(site.embedder, 1000) as failed:
        site.up(*flags, "--set", "embedder.max_concurrent_requests=256")
    after = site.containers
    assert {name for name in after if after[name] != before[name]} == {"bge-embedder-tei-0", "bge-embedder-tei-1"}
    assert failed == []


def test_another_model_replaces_all_at_once_since_the_two_must_not_be_mixed(site: Site):
    site.up(*ONE)
    site.kill_controller()
    (site.folder / "models" / "other").symlink_to("bge-m3")
    before = site.containers
    site.up(*ONE, "--set", "embedder.model=models/other")
    after = site.containers
    assert all(before[name] != after[name] for name in ("bge-embedder-tei-0", "bge-embedder-tei-1"))
    assert site.embedder.post("/embed", QUESTION).status == 200


def test_ctrl_c_while_it_loads_leaves_nothing(site: Site):
    process = site.begin(*ONE)
    try:
        site.until("the second container", lambda: "bge-embedder-tei-1" in site.containers)
        process.send_signal(signal.SIGINT)
    finally:
        process.communicate(timeout=LIMIT_S)
    assert site.containers == {}
    site.up(*ONE)


def test_the_daemon_may_be_restarted_under_a_fleet(site: Site, daemon):
    """All containers end with the daemon and restart, perhaps with each other's addresses."""
    site.up(*ONE)
    daemon.stop()
    daemon.start()
    site.until("an answer", lambda: answers(site))
    site.until_active("embedder")
    assert site.embedder.post("/embed", QUESTION).status == 200


def test_another_folders_fleet_is_left_alone_and_a_moved_folder_keeps_its_fleet(site: Site, tmp_path_factory):
    site.up(*ONE)
    site.kill_controller()
    there, site.folder = site.folder, tmp_path_factory.mktemp("another")
    (site.folder / "models").symlink_to(there / "models")
    before = site.containers
    assert f"the fleet in {there} are left alone" in site.run("down").stderr
    refused = site.run("up", *ONE, code=None)
    assert refused.returncode != 0
    assert f"belongs to the fleet in {there}" in refused.stderr
    assert f"embedfleet down in {there}" in refused.stderr
    assert site.containers == before
    moved = there.rename(there.with_name("moved"))
    (site.folder / "models").unlink()
    (site.folder / "models").symlink_to(moved / "models")
    assert "docker rm -f bge-embedder-tei-0" in site.run("down").stderr, "nothing proves that they are this fleet's"
    assert site.containers == before
    site.folder = moved
    site.run("down")
    assert site.containers == {}, "its id has moved with its folder"


def restarts(site: Site, name: str) -> int:
    """Return the number of a replica's restarts by the controller."""
    (row,) = [row for service in site.status["services"] for row in service["replicas"] if row["id"] == name]
    return int(row["restarts"])


def answers(site: Site) -> bool:
    try:
        return site.embedder.post("/embed", QUESTION).status == 200
    except OSError:
        return False
