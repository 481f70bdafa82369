"""Containers that hang are killed and replaced; a paused one is named and left alone."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.services.docker.site import QUESTION, Site, asking

ONE = ("--set", "reranker.enabled=false", "--hung-after-s", "4", "--balancer-hung-after-s", "4")
REPLICA = "bge-embedder-tei-0"


def row(site: Site, name: str) -> dict[str, Any]:
    rows = [row for service in site.status["services"] for row in (service["gateway"], *service["replicas"])]
    (found,) = [row for row in rows if row["id"] == name]
    return found


def stop(site: Site, name: str) -> None:
    """Stop a container's first process and its children by signals from the host."""
    first = site.client.api.inspect_container(name)["State"]["Pid"]
    for pid in (first, *Path(f"/proc/{first}/task/{first}/children").read_text().split()):
        os.kill(int(pid), signal.SIGSTOP)


def until_replaced(site: Site, name: str) -> None:
    site.until(f"a restart of {name}", lambda: row(site, name)["restarts"] == 1)
    site.until("a fleet that is ready", lambda: site.status["ready"])
    assert row(site, name)["last_end"].startswith("hung: one of its processes has been stopped for")


@pytest.mark.parametrize("balancer", ["gateway", "nginx"])
def test_a_replica_that_hangs_is_replaced_and_then_its_balancer(site: Site, balancer):
    name = f"{balancer}-embedder-lb"
    site.up(*ONE, "--set", f"embedder.balancer={balancer}")
    before = site.containers
    with asking(site.embedder, 500) as failed:
        stop(site, REPLICA)
        until_replaced(site, REPLICA)
    assert failed == [] or balancer == "nginx"  # nginx lets its requests wait for the hung replica
    assert site.containers == before
    stop(site, name)
    site.until("the phase silent", lambda: row(site, name)["phase"] == "silent")
    until_replaced(site, name)
    assert site.embedder.post("/embed", QUESTION).status == 200


def test_a_paused_container_is_named_and_left_alone(site: Site):
    site.up(*ONE)
    container = site.client.containers.get(REPLICA)
    container.pause()
    site.until("a reason that says that it is paused", lambda: "docker unpause" in row(site, REPLICA).get("reason", ""))
    site.until("the state ejected", lambda: row(site, REPLICA)["state"] == "ejected")
    assert site.status["ready"] is False
    container.unpause()
    site.until("a fleet that is ready", lambda: site.status["ready"])
    assert row(site, REPLICA)["restarts"] == 0


def test_down_does_not_wait_for_containers_that_hang_with_or_without_a_controller(site: Site):
    """Their grace period is longer than the test may take."""
    grace = ("--stop-grace-s", "3600")
    site.up(*ONE, *grace)
    stop(site, REPLICA)
    site.run("down", *grace)
    site.up(*ONE, *grace)
    site.kill_controller()
    stop(site, REPLICA)
    stop(site, "gateway-embedder-lb")
    told = site.run("status", code=1).stdout
    assert "gateway-embedder-lb: " in told
    assert f"{REPLICA}: " in told
    site.run("down", *grace)
    assert site.containers == {}
