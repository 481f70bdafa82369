"""Containers that a new plan lacks are removed once the plan serves; balancers that hold its ports, before that."""

import socket

import pytest

from embedfleet.config.load import load
from embedfleet.control.plan.specs import ContainerSpec
from embedfleet.control.plan.state_folders import GATEWAY_SOCKET, gateway_folder
from embedfleet.control.run.unplanned_containers import drop_replaced, set_balancers_aside
from tests.unit.control.docker.test_replaced_containers import daemon

REPLICA = ContainerSpec("r-0", "embedder", "replica", image="i")
GATEWAY = ContainerSpec("a-gateway", "embedder", "balancer", image="i")


@pytest.fixture
def settings(tmp_path):
    file = tmp_path / "fleet.toml"
    file.touch()
    return load(file, {}, {"reranker.enabled": "false", "fleet.state_dir": str(tmp_path / "s")})


def test_only_containers_outside_the_plan_are_removed(tmp_path, caplog):
    caplog.set_level("INFO")
    statuses = {"r-0": "running", "r-1": "running", "r-0.former": "exited", "a-gateway": "running"}
    with daemon(tmp_path, statuses) as (kept, docker):
        drop_replaced(docker, [REPLICA, GATEWAY])
        assert kept.statuses == {"r-0": "running", "a-gateway": "running"}
    assert "r-1 is no longer in the plan" in caplog.text


def test_a_fleet_that_serves_goes_on_although_something_cannot_be_removed(tmp_path, caplog):
    with daemon(tmp_path, {"r-0": "running", "r-1": "running"}, "DELETE /containers/id-r-1") as (kept, docker):
        drop_replaced(docker, [REPLICA])
        assert "r-1" in kept.statuses
    assert "cannot be removed: Docker: a fault of the daemon" in caplog.text


def test_a_balancer_outside_the_plan_is_set_aside_and_replicas_stay(tmp_path, settings):
    statuses = {"old-gateway": "running", "r-0": "running", "r-1": "running", "x-gateway.former": "exited"}
    with daemon(tmp_path, statuses) as (kept, docker):
        set_balancers_aside(settings, docker, [REPLICA])
        expected = {"old-gateway.former": "exited", "r-0": "running", "r-1": "running", "x-gateway.former": "exited"}
        assert kept.statuses == expected


@pytest.mark.parametrize("has_socket", [True, False])
def test_a_gateway_without_its_socket_is_set_aside(tmp_path, settings, has_socket):
    folder = gateway_folder(settings, "embedder")
    folder.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as admin, daemon(tmp_path, {"a-gateway": "running"}) as (kept, docker):
        if has_socket:
            admin.bind(str(folder / GATEWAY_SOCKET))
        set_balancers_aside(settings, docker, [GATEWAY])
        assert kept.statuses == ({"a-gateway": "running"} if has_socket else {"a-gateway.former": "exited"})
