"""Faults are refused with a hint and leave nothing that disturbs the next `up` or `down`."""

import json
import os
import shutil
import socket
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from embedfleet.control.docker.client import Docker
from embedfleet.errors import DockerError
from tests.services.docker.images import NGINX, TEI, save
from tests.services.docker.site import QUESTION, T4, Site, gpus
from tests.services.fleet import COMMAND

ONE = ("--set", "reranker.enabled=false")


def test_a_container_that_is_not_ours_is_refused_and_left_alone(site: Site):
    foreign = site.client.containers.create(NGINX, name="bge-embedder-tei-1")
    result = site.run("up", *ONE, code=2)
    assert "the container bge-embedder-tei-1 exists, but embedfleet did not make it" in result.stderr
    site.run("down")
    assert site.containers == {"bge-embedder-tei-1": foreign.id}


def test_a_container_that_dies_while_loading_shows_its_last_lines(site: Site):
    tokenizer = site.folder / "models" / "bge-m3" / "tokenizer.json"
    tokenizer.write_text("{}")  # no check reads its content before the start
    result = site.run("up", *ONE, code=None)
    assert result.returncode in {1, 2}
    assert str(tokenizer) in result.stderr
    assert site.containers == {}


def test_an_image_that_fails_in_an_update_leaves_the_serving_containers(site: Site):
    site.up(*ONE)
    site.kill_controller()
    flags = (*ONE, "--set", f"embedder.image={NGINX}")
    result = site.run("up", *flags, "--ready-timeout-s", "60", code=None)
    assert result.returncode != 0
    assert "bge-embedder-tei-1" in site.containers
    assert site.embedder.post("/embed", QUESTION).status == 200
    site.up(*ONE)
    assert set(site.states("embedder").values()) == {"active"}


def test_images_are_pulled_only_with_the_flag(site: Site):
    result = site.run("up", *ONE, "--tei-version", "1.9.4", code=2)
    assert f"there is no image {TEI['turing'].replace('1.9.3', '1.9.4')}" in result.stderr
    assert "docker save -o" in result.stderr
    pulled = site.run("up", *ONE, "--set", "embedder.image=127.0.0.1:1/none:latest", "--pull", code=None)
    assert pulled.returncode != 0
    assert "connection refused" in pulled.stderr.lower()


def test_a_tar_of_the_wrong_image_says_what_it_holds(site: Site):
    folder = site.folder / "tei-images"
    save(site.env["DOCKER_HOST"], NGINX, folder / "text-embeddings-inference-turing.tar")
    result = site.run("up", *ONE, "--tei-version", "1.9.4", code=2)
    assert f"text-embeddings-inference-turing.tar holds {NGINX}" in result.stderr


def test_a_tar_cut_short_is_named(site: Site):
    file = save(site.env["DOCKER_HOST"], NGINX, site.folder / "tei-images" / "text-embeddings-inference-turing.tar")
    whole = file.read_bytes()
    for length in (len(whole) // 2, len(whole) - 1500, 100, 0):
        file.write_bytes(whole[:length])
        result = site.run("up", *ONE, "--tei-version", "1.9.4", code=2)
        assert f"{file} " in result.stderr
        assert "truncated" in result.stderr


def _pointer(site: Site) -> None:
    weights = site.folder / "models/bge-m3/model.safetensors"
    weights.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")


def _no_model(site: Site) -> None:
    shutil.rmtree(site.folder / "models/bge-reranker-v2-m3")


def _short_tar(site: Site) -> None:
    (site.folder / "tei-images").mkdir()
    (site.folder / "tei-images/text-embeddings-inference-turing.tar").write_bytes(b"\0" * 700)


def _nothing(site: Site) -> None:
    """Do nothing, because the fault is in the flags or the environment."""


@dataclass(frozen=True)
class Planted:
    """A planted fault, the check that must find it, and a part of that check's advice."""

    check: str
    advice: str
    flags: tuple[str, ...] = ()
    env: dict[str, str] = field(default_factory=dict)
    plant: Callable[[Site], object] = _nothing


PLANTED = {
    "gpu-type": Planted("gpu.type", "omit the type", ("--gpu", "H100")),
    "no-driver": Planted("gpu.type", "nvidia-smi must work", ("--gpu", "T4"), {"FAKE_GPUS": ""}),
    "volta": Planted("gpu.type", "leave this GPU out", env={"FAKE_GPUS": gpus("Tesla V100|7.0|16384|16000")}),
    "memory": Planted("gpu.memory", "end what uses it", env={"FAKE_GPUS": gpus(T4, "Tesla T4|7.5|15360|1000")}),
    "no-daemon": Planted("docker.reachable", "systemctl start docker", ("--docker-host", "unix:///no/such.sock")),
    "busy": Planted("gpu.busy", "nvidia-smi shows them", env={"FAKE_BUSY": "4242"}),
    "pointer": Planted("model.embedder", "git lfs pull", plant=_pointer),
    "no-model": Planted("model.reranker", "clone the model", plant=_no_model),
    "no-image": Planted("image", "docker pull", ("--tei-version", "1.9.4")),
    "short-tar": Planted("image", "turing.tar again", ("--tei-version", "1.9.4"), plant=_short_tar),
    "foreign": Planted(
        "container.name",
        "docker rename",
        plant=lambda site: site.client.containers.create(NGINX, name="bge-embedder-tei-0"),
    ),
    "no-toolkit": Planted("docker.gpu", "install the NVIDIA container toolkit", ("--device-request", "cdi")),
    "old-driver": Planted("driver.version", "update the driver", env={"FAKE_DRIVER": "470.1"}),
    "new-driver": Planted("driver.version", "newer tei_version", env={"FAKE_DRIVER": "610.43.02"}),
}


def _check(site: Site, fault: Planted) -> None:
    result = site.run("doctor", "--json", *fault.flags, code=None, **fault.env)
    checks = [check for check in json.loads(result.stdout)["checks"] if check["state"] != "ok"]
    found = [check for check in checks if check["id"] == fault.check]
    assert any(fault.advice in f"{check['message']} {check['hint']}" for check in found), result.stdout
    assert all(check["hint"] for check in found)
    blocked = any(check["state"] == "blocked" for check in checks)
    assert result.returncode == (1 if blocked else 0)


@pytest.mark.parametrize("fault", PLANTED)
def test_doctor_finds_a_planted_fault_and_names_the_fix(site: Site, fault):
    PLANTED[fault].plant(site)
    _check(site, PLANTED[fault])


def test_doctor_finds_a_taken_port(site: Site):
    with socket.create_server(("0.0.0.0", site.ports[1])):
        _check(site, Planted("ports", "stop what listens there"))


def test_a_socket_without_permission_is_reported_with_a_hint(site: Site, tmp_path):
    path = tmp_path / "d.sock"
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))
        sock.listen()
        path.chmod(0)
        # Root without this capability is refused as anybody else is.
        command = [
            "setpriv",
            "--bounding-set",
            "-dac_override",
            *COMMAND,
            "up",
            *ONE,
            "--docker-host",
            f"unix://{path}",
        ]
        done = subprocess.run(
            command, cwd=site.folder, env=os.environ | site.env, capture_output=True, text=True, timeout=60, check=False
        )
    assert done.returncode == 2, done.stderr
    assert "Permission denied" in done.stderr
    assert "add yourself to the group docker" in done.stderr
    assert site.containers == {}


def test_doctor_finds_nothing_wrong_where_nothing_is(site: Site):
    result = site.run("doctor", "--json", "--set", "embedder.balancer=nginx")
    checks = json.loads(result.stdout)["checks"]
    assert {check["state"] for check in checks} == {"ok"}, checks
    assert {
        "driver.present",
        "gpu.type",
        "docker.reachable",
        "model.embedder",
        "image",
        "docker.gpu",
        "nginx.test",
    } <= {check["id"] for check in checks}
    assert site.containers == {}, "the temporary containers are removed"


def test_a_refusal_of_the_daemon_has_a_hint(site: Site):
    docker = Docker.connect(site.env["DOCKER_HOST"])
    with pytest.raises(DockerError) as caught:
        docker.try_out(NGINX, ["-t"], gpu="GPU-0000", request="cdi")
    assert "could not select device driver" in caught.value.message
    assert "NVIDIA container toolkit" in caught.value.hint
    docker.close()
    with pytest.raises(DockerError) as caught:
        Docker.connect("unix:///no/such.sock")
    assert "systemctl start docker" in caught.value.hint
