"""The state of a container shows whether its start has failed for good."""

from dataclasses import replace

import pytest

from embedfleet.control.docker.container import LABEL_PORT, LABEL_SERVICE, Container
from embedfleet.control.docker.fleet_identity import FleetIdentity
from embedfleet.control.drivers.container import has_other_model
from embedfleet.control.drivers.running_container import has_given_up
from embedfleet.control.plan.specs import ContainerSpec

LOADING = Container(
    id="1",
    name="c",
    is_ours=True,
    folder="",
    service="s",
    kind="replica",
    fingerprint="",
    model="",
    computes="",
    image_id="",
    status="running",
    exit_code=0,
    started="",
    ip="",
    networks=(),
    port=80,
    host="",
    published=0,
    pid=1,
    restarts=2,
)


@pytest.mark.parametrize(
    ("status", "restarts_before", "given_up"),
    [
        ("running", 0, False),  # its third run may succeed, and has no exit code yet
        ("restarting", 0, True),
        ("exited", 0, True),
        ("restarting", 1, False),
        ("running", 1, False),
    ],
)
def test_a_loading_container_has_failed_only_while_it_does_not_run(status: str, restarts_before: int, given_up: bool):
    assert has_given_up(replace(LOADING, status=status), restarts_before) is given_up


def attributes(labels: dict[str, str], ports: dict | None = None, networks: dict | None = None) -> dict:
    return {
        "Id": "1",
        "Name": "/c",
        "Image": "sha256:1",
        "Config": {"Labels": {LABEL_SERVICE: "s"} | labels},
        "State": {"Status": "running", "ExitCode": 0, "StartedAt": ""},
        "NetworkSettings": {"Ports": ports or {}, "Networks": networks or {}},
        "HostConfig": {},
    }


@pytest.mark.parametrize(
    ("address", "url"),
    [
        ("0.0.0.0", "http://127.0.0.1:8001"),
        ("", "http://127.0.0.1:8001"),
        ("10.1.2.3", "http://10.1.2.3:8001"),
        ("::", "http://[::1]:8001"),
        ("fd00::5", "http://[fd00::5]:8001"),
    ],
)
def test_the_url_follows_from_the_published_address(address: str, url: str):
    ports = {"9090/tcp": None, "8080/tcp": [{"HostIp": address, "HostPort": "8001"}]}
    assert Container.of(attributes({}, ports), FleetIdentity()).url == url


@pytest.mark.parametrize("port", ["", "eighty", "-1", "8 0", "٣"])
def test_an_invalid_port_label_counts_as_no_port(port: str):
    networks = {"n": {"IPAddress": "172.18.0.2"}}
    assert Container.of(attributes({LABEL_PORT: port}, networks=networks), FleetIdentity()).port == 0


FOLDER = ContainerSpec("r-0", "s", "replica", model="/models/bge-m3", weights="aa")


@pytest.mark.parametrize(
    ("spec", "is_other"),
    [
        (FOLDER, False),
        (replace(FOLDER, model="/elsewhere/bge-m3"), False),  # the same folder, moved
        (replace(FOLDER, model="/models/bge-large"), True),  # a replica reports its model by that name
        (replace(FOLDER, weights="bb"), True),
        (replace(FOLDER, reading="pooling=mean"), True),
        (replace(FOLDER, image="another", gpu="GPU-1"), False),
    ],
)
def test_a_container_has_another_model_if_it_computes_something_else(spec: ContainerSpec, is_other: bool):
    container = replace(LOADING, computes=FOLDER.computes, model=FOLDER.model)
    assert has_other_model(container, spec) is is_other


def test_for_a_container_of_an_earlier_release_the_folders_path_decides():
    container = replace(LOADING, model=FOLDER.model)
    assert not has_other_model(container, FOLDER)
    assert has_other_model(container, replace(FOLDER, model="/elsewhere/bge-m3"))
