"""What answers at a Docker socket is told apart by its own words; each engine is asked for GPUs in its way."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import orjson
import pytest

from embedfleet.control.child import ContainerSpec, Mount
from embedfleet.control.container_engine import Engine
from embedfleet.control.docker import Docker
from embedfleet.errors import DockerError
from embedfleet.http.exchange import Exchange
from embedfleet.http.message import JSON
from embedfleet.http.server import Server

DOCKER = {"Version": "28.2.2", "Components": [{"Name": "Engine", "Version": "28.2.2"}]}


def podman(version: str) -> dict:
    return {"Version": "1.41", "Components": [{"Name": "Podman Engine", "Version": version}]}


def test_docker_is_known_with_its_folder():
    engine = Engine.of(DOCKER, {"DockerRootDir": "/var/lib/docker", "Runtimes": {"runc": {}, "nvidia": {}}})
    assert (engine.name, engine.version, engine.root) == ("docker", "28.2.2", "/var/lib/docker")
    assert engine.has_nvidia_runtime
    assert not any((engine.is_rootless, engine.has_selinux, engine.has_cdi_gpus, engine.has_containerd_store))


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


class Podman:
    """Podman's Docker-compatible API, as far as creating a container goes: it notes what it was asked to make."""

    def __init__(self) -> None:
        self.created: list[dict] = []
        self.server = Server(self.handle)

    def handle(self, exchange: Exchange) -> None:
        path = exchange.path.partition("?")[0].removeprefix("/v1.41")
        answer: object = {}
        if path == "/version":
            answer = podman("5.8.1") | {"ApiVersion": "1.41", "MinAPIVersion": "1.24"}
        elif path == "/info":
            answer = {"SecurityOptions": ["name=rootless", "name=selinux"], "DockerRootDir": "/home/u/storage"}
        elif path == "/containers/create":
            self.created.append(orjson.loads(exchange.body))
            answer = {"Id": "c0ffee", "Warnings": []}
        elif path.startswith("/containers/"):
            answer = {"Id": "c0ffee", "Name": "/x", "Config": {"Image": "i"}, "State": {"Status": "created"}}
        exchange.respond(201 if path == "/containers/create" else 200, [JSON], orjson.dumps(answer))


class Removing:
    """A daemon that removes the container ``slow`` already, for somebody else; ``gone`` it does not have."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.server = Server(self.handle)

    def handle(self, exchange: Exchange) -> None:
        method, target = exchange.method.decode(), exchange.target.decode().removeprefix("/v1.41")
        path = target.partition("?")[0]
        if path == "/version":
            exchange.respond(200, [JSON], orjson.dumps(DOCKER | {"ApiVersion": "1.41", "MinAPIVersion": "1.24"}))
            return
        self.asked.append(f"{method} {target}")
        if path == "/containers/gone":
            exchange.respond(404, [JSON], b'{"message": "No such container: gone"}')
        elif path == "/containers/stuck":
            exchange.respond(500, [JSON], b'{"message": "device or resource busy"}')
        elif method == "DELETE":
            exchange.respond(409, [JSON], b'{"message": "removal of container slow is already in progress"}')
        else:
            exchange.respond(200, [JSON], b'{"StatusCode": 0}')


F = TypeVar("F", Podman, Removing)


@contextmanager
def listening(path: str, fake: F) -> Iterator[F]:
    """In a thread: the docker package blocks."""
    loop = asyncio.new_event_loop()
    loop.run_until_complete(fake.server.start(path=path))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield fake
    finally:
        asyncio.run_coroutine_threadsafe(fake.server.stop(0), loop).result(30)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def test_podman_is_asked_for_a_cdi_device_without_selinux_labels(tmp_path):
    spec = ContainerSpec("r-0", "s", "replica", image="i", gpu="GPU-a", mounts=(Mount("/m", "/m"),), network="tei-net")
    with listening(str(tmp_path / "p.sock"), Podman()) as fake:
        docker = Docker(f"unix://{tmp_path}/p.sock")
        engine = docker.engine()
        docker.create(spec, engine.device_request("auto"), relabel=engine.has_selinux, files=1000)
        docker.close()
    (asked,) = fake.created
    host = asked["HostConfig"]
    (request,) = host["DeviceRequests"]
    assert (request["Driver"], request["DeviceIDs"]) == ("cdi", ["nvidia.com/gpu=GPU-a"])
    assert host["SecurityOpt"] == ["label=disable"]
    assert host["Ulimits"] == [{"Name": "nofile", "Soft": 1000, "Hard": 1000}]
    assert host["RestartPolicy"]["Name"] == "unless-stopped"
    (mount,) = host["Mounts"]
    assert (mount["Source"], mount["Target"], mount["ReadOnly"], mount["Type"]) == ("/m", "/m", True, "bind")
    assert engine.is_rootless, "so replicas are published on the loopback"


def test_a_removal_that_somebody_else_began_is_waited_for(tmp_path):
    with listening(str(tmp_path / "d.sock"), Removing()) as daemon:
        docker = Docker(f"unix://{tmp_path}/d.sock")
        docker.remove("slow")
        docker.remove("gone")
        with pytest.raises(DockerError, match="busy"):
            docker.remove("stuck")
        docker.close()
    remove, wait, *_ = daemon.asked
    assert remove.startswith("DELETE /containers/slow?")
    assert wait == "POST /containers/slow/wait?condition=removed"
    assert [line for line in daemon.asked if "/wait" in line] == [wait]
