"""Docker and Podman are distinguished by their answers, and each gets its own form of a request for GPUs."""

import asyncio

import orjson
import pytest

from embedfleet.control.docker.client import Docker
from embedfleet.control.docker.container_engine import ContainerEngine
from embedfleet.control.docker.leftovers import leftovers_status, remove_all
from embedfleet.control.plan.specs import ContainerSpec, Mount
from embedfleet.errors import DockerError
from embedfleet.http.exchange import Exchange
from embedfleet.http.message import JSON
from embedfleet.http.server import Server
from embedfleet.types import Endpoint, ReplicaReport, ReplicaState
from tests.services.docker.fake_daemon import listening

DOCKER = {"Version": "28.2.2", "Components": [{"Name": "Engine", "Version": "28.2.2"}]}


def podman(version: str) -> dict:
    return {"Version": "1.41", "Components": [{"Name": "Podman Engine", "Version": version}]}


def test_docker_is_recognised_with_its_data_folder():
    engine = ContainerEngine.of(DOCKER, {"DockerRootDir": "/var/lib/docker", "Runtimes": {"runc": {}, "nvidia": {}}})
    assert (engine.name, engine.version, engine.root) == ("docker", "28.2.2", "/var/lib/docker")
    assert engine.has_nvidia_runtime
    assert not any((engine.is_rootless, engine.has_selinux, engine.has_cdi_gpus, engine.has_containerd_store))


def test_podman_is_recognised_by_its_component():
    engine = ContainerEngine.of(podman("5.8.1"), {"SecurityOptions": ["name=rootless", "name=selinux"]})
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
def test_a_gpu_is_requested_in_the_form_that_works(version, info, wanted):
    assert ContainerEngine.of(version, info).device_request("auto") == wanted


def test_a_form_that_is_set_is_used():
    engine = ContainerEngine.of(DOCKER, {})
    assert [engine.device_request(wanted) for wanted in ("gpu", "cdi")] == ["gpu", "cdi"]


@pytest.mark.parametrize("version", ["5.3.9", "4.9.4", "3.4.4"])
def test_a_podman_that_ignores_requests_for_gpus_is_refused(version):
    with pytest.raises(DockerError, match=f"Podman {version} ignores requests for GPUs") as caught:
        ContainerEngine.of(podman(version), {}).device_request("auto")
    assert "5.4" in caught.value.hint


def test_the_containerd_store_is_recognised():
    info = {"DriverStatus": [["driver-type", "io.containerd.snapshotter.v1"]]}
    assert ContainerEngine.of(DOCKER, info).has_containerd_store


class Podman:
    """Podman's Docker-compatible API for creating a container; it records each request."""

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
    """A daemon that is already removing the container ``slow`` for another client, and has no container ``gone``."""

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


class Ailing:
    """A daemon with three containers of ours, of which ``sick`` can be neither inspected, stopped nor removed."""

    def __init__(self) -> None:
        self.names = ["well", "sick", "odd"]
        self.networks = {"used": "sick", "free": ""}
        self.server = Server(self.handle)

    def handle(self, exchange: Exchange) -> None:
        method, path = exchange.method.decode(), exchange.path.partition("?")[0].removeprefix("/v1.41")
        _, kind, *rest = path.split("/")
        name = rest[0] if rest else ""
        if path == "/version":
            self._answer(exchange, DOCKER | {"ApiVersion": "1.41", "MinAPIVersion": "1.24"})
        elif name == "sick":
            exchange.respond(500, [JSON], b'{"message": "layer does not exist"}')
        elif path == "/containers/json" and b"network" in exchange.target:
            users = [user for network, user in self.networks.items() if network in exchange.target.decode() and user]
            self._answer(exchange, [self._row(user) for user in users])
        elif path == "/containers/json":
            self._answer(exchange, [self._row(each) for each in self.names])
        elif kind == "containers" and method == "GET":
            self._answer(exchange, _inspected(name, self._labels(name)))
        elif kind == "containers":
            if method == "DELETE":
                self.names.remove(name)
            exchange.respond(204, [], b"")
        elif path == "/networks":
            labels = {"io.embedfleet.network": "1"}
            asked = exchange.target.decode()
            found = [each for each in self.networks if "name" not in asked or each in asked]
            self._answer(exchange, [{"Id": each, "Name": each, "Labels": labels} for each in found])
        else:
            del self.networks[name]
            exchange.respond(204, [], b"")

    def _answer(self, exchange: Exchange, value: object) -> None:
        exchange.respond(200, [JSON], orjson.dumps(value))

    def _labels(self, name: str) -> dict[str, str]:
        port = "eighty" if name == "odd" else "80"
        return {"io.embedfleet.service": "s", "io.embedfleet.kind": "replica", "io.embedfleet.port": port}

    def _row(self, name: str) -> dict:
        return {"Id": name, "Names": [f"/{name}"], "ImageID": "i", "Labels": self._labels(name), "State": "dead"}


def _inspected(name: str, labels: dict[str, str]) -> dict:
    return {
        "Id": name,
        "Name": f"/{name}",
        "Image": "i",
        "Config": {"Labels": labels},
        "State": {"Status": "running", "ExitCode": 0, "StartedAt": ""},
        "NetworkSettings": {},
        "HostConfig": {},
    }


def test_podman_gets_a_request_for_a_cdi_device_without_selinux_labels(tmp_path):
    spec = ContainerSpec("r-0", "s", "replica", image="i", gpu="GPU-a", mounts=(Mount("/m", "/m"),), network="tei-net")
    with listening(str(tmp_path / "p.sock"), Podman()) as fake:
        docker = Docker.connect(f"unix://{tmp_path}/p.sock")
        engine = docker.engine()
        docker.create(spec, engine.device_request("auto"), without_selinux=engine.has_selinux, files=1000)
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


def test_a_removal_by_another_client_is_awaited(tmp_path):
    with listening(str(tmp_path / "d.sock"), Removing()) as daemon:
        docker = Docker.connect(f"unix://{tmp_path}/d.sock")
        docker.remove("slow")
        docker.remove("gone")
        with pytest.raises(DockerError, match="busy"):
            docker.remove("stuck")
        docker.close()
    remove, wait, *_ = daemon.asked
    assert remove.startswith("DELETE /containers/slow?")
    assert wait == "POST /containers/slow/wait?condition=removed"
    assert [line for line in daemon.asked if "/wait" in line] == [wait]


def test_a_container_that_cannot_be_inspected_or_removed_affects_no_other(tmp_path):
    with listening(str(tmp_path / "d.sock"), Ailing()) as daemon:
        docker = Docker.connect(f"unix://{tmp_path}/d.sock")
        assert {each.name: each.status for each in docker.ours()} == {
            "well": "running",
            "sick": "dead",
            "odd": "running",
        }
        with pytest.raises(DockerError, match="sick cannot be removed: Docker: layer does not exist"):
            remove_all(docker)
        docker.close()
    assert daemon.names == ["sick"]
    assert daemon.networks == {"used": "sick"}, "a container is on it, though it does not run"


@pytest.mark.parametrize("answer", [b"[]", b"{}", b'{"Config": null}', b"7", b"not JSON"])
def test_an_invalid_answer_is_an_error_of_the_daemon(tmp_path, answer):
    class Garbled(Ailing):
        def _answer(self, exchange: Exchange, value: object) -> None:
            exchange.respond(200, [JSON], orjson.dumps(value) if "version" in exchange.path else answer)

    with listening(str(tmp_path / "d.sock"), Garbled()):
        docker = Docker.connect(f"unix://{tmp_path}/d.sock")
        with pytest.raises(DockerError):
            docker.find("well")
        docker.close()


def test_a_balancer_that_was_a_process_has_a_complete_row(tmp_path):
    async def told(_: str) -> list[ReplicaReport]:
        return [ReplicaReport(Endpoint(name, ""), ReplicaState.ACTIVE) for name in ("well", "sick", "odd")]

    with listening(str(tmp_path / "d.sock"), Ailing()):
        docker = Docker.connect(f"unix://{tmp_path}/d.sock")
        (service,) = asyncio.run(leftovers_status(docker, told))
        docker.close()
    row = service.to_json()
    assert row["gateway"].keys() == row["replicas"][0].keys() - {"url", "state", "reason"}
