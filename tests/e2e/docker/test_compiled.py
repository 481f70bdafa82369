"""The image's gateway is compiled, and passes the gateway's own tests in a container of the image."""

import io
import json
import sysconfig
import tarfile
from pathlib import Path

import docker
import pytest

from tests.services.compiled import LIMIT_S, ROOT, SUITE, check_modules
from tests.services.docker.daemon import Daemon
from tests.services.docker.images import OWN

PACKAGE = "/opt/embedfleet/src"
# What belongs to a compiler or to compiling.
TOOLS = """
import importlib.util, json, shutil
found = [name for name in ("cc", "gcc", "as", "ld") if shutil.which(name)]
print(json.dumps(found + [name for name in ("mypy", "mypyc", "setuptools") if importlib.util.find_spec(name)]))
"""


@pytest.fixture
def client(daemon: Daemon):
    client = docker.DockerClient(base_url=daemon.host, timeout=LIMIT_S)
    yield client
    client.close()


def run(client: docker.DockerClient, *command: str, **options) -> tuple[int, str]:
    """Run a command in a container of the image; return its exit code and output."""
    container = client.containers.run(
        OWN, list(command[1:]), entrypoint=command[0], network_mode="none", detach=True, **options
    )
    try:
        code = container.wait(timeout=LIMIT_S)["StatusCode"]
        return code, container.logs().decode()
    finally:
        container.remove(force=True)


def test_the_containers_gateway_passes_the_gateways_tests(client):
    """The tests and their packages come from this machine; the package and the Python are the image's."""
    packages = sysconfig.get_path("purelib")
    code, said = run(
        client,
        *("python3", "-m", "pytest", *SUITE),
        user="root",
        volumes={folder: {"bind": folder, "mode": "ro"} for folder in (str(ROOT), packages)},
        working_dir=str(ROOT),
        environment={
            "PYTHONPATH": f"{PACKAGE}:/opt/embedfleet/packages:{packages}",
            "HYPOTHESIS_STORAGE_DIRECTORY": "/tmp/hypothesis",
            "CI": "1",
        },
    )
    assert code == 0, said[-6000:]
    assert "passed" in said.splitlines()[-1]


def test_the_images_modules_are_compiled_and_a_wheel_carries_them(client, tmp_path: Path):
    container = client.containers.create(OWN, network_mode="none")
    try:
        with tarfile.open(fileobj=io.BytesIO(b"".join(container.get_archive(PACKAGE)[0]))) as tar:
            tar.extractall(tmp_path, filter="data")
    finally:
        container.remove(force=True)
    check_modules(tmp_path / "src", tmp_path)


def test_the_image_has_no_compiler(client):
    code, said = run(client, "python3", "-c", TOOLS)
    assert (code, json.loads(said)) == (0, [])
