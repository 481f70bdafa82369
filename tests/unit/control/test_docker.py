"""What answers at a Docker socket is told apart by its own words; each engine is asked for GPUs in its way."""

import pytest

from embedfleet.control.docker import Engine
from embedfleet.errors import DockerError

DOCKER = {"Version": "28.2.2", "Components": [{"Name": "Engine", "Version": "28.2.2"}]}


def podman(version: str) -> dict:
    return {"Version": "1.41", "Components": [{"Name": "Podman Engine", "Version": version}]}


def test_docker_is_known_with_its_folder():
    engine = Engine.of(DOCKER, {"DockerRootDir": "/var/lib/docker", "Runtimes": {"runc": {}, "nvidia": {}}})
    assert (engine.name, engine.version, engine.root) == ("docker", "28.2.2", "/var/lib/docker")
    assert engine.has_nvidia_runtime
    assert not (engine.is_rootless or engine.has_selinux or engine.has_cdi_gpus or engine.has_containerd_store)


def test_podman_is_known_by_its_component_and_not_by_the_api_that_it_speaks():
    engine = Engine.of(podman("5.8.1"), {"SecurityOptions": ["name=rootless", "name=selinux"]})
    assert (engine.name, engine.version, engine.is_rootless, engine.has_selinux) == ("podman", "5.8.1", True, True)


@pytest.mark.parametrize(
    ("version", "info", "wanted"),
    [
        (DOCKER, {}, "gpu"),
        (DOCKER, {"Runtimes": {"nvidia": {}}, "DiscoveredDevices": [{"ID": "nvidia.com/gpu=all"}]}, "gpu"),
        (DOCKER, {"DiscoveredDevices": [{"Source": "cdi", "ID": "nvidia.com/gpu=GPU-a"}]}, "cdi"),
        (DOCKER, {"DiscoveredDevices": [{"Source": "cdi", "ID": "amd.com/gpu=0"}]}, "gpu"),
        (podman("5.4.0"), {}, "cdi"),
        (podman("10.0.0"), {}, "cdi"),
    ],
)
def test_a_gpu_is_asked_for_in_the_way_that_works(version, info, wanted):
    assert Engine.of(version, info).device_request("auto") == wanted


def test_what_is_set_is_asked_for():
    engine = Engine.of(DOCKER, {})
    assert [engine.device_request(wanted) for wanted in ("gpu", "cdi")] == ["gpu", "cdi"]


@pytest.mark.parametrize("version", ["5.3.9", "4.9.4", "3.4.4"])
def test_a_podman_that_would_leave_the_gpu_out_without_a_word_is_refused(version):
    with pytest.raises(DockerError, match=f"Podman {version} ignores the GPUs") as caught:
        Engine.of(podman(version), {}).device_request("auto")
    assert "5.4" in caught.value.hint


def test_the_containerd_store_is_known():
    info = {"DriverStatus": [["driver-type", "io.containerd.snapshotter.v1"]]}
    assert Engine.of(DOCKER, info).has_containerd_store
