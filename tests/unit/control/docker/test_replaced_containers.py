"""A failed update puts back the containers that served before, and a successful one removes them."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from embedfleet.control.docker.client import Docker
from embedfleet.control.docker.replaced_containers import (
    is_set_aside,
    original_name,
    put_back,
    remove_set_aside,
    set_aside,
)
from embedfleet.errors import DockerError
from tests.services.docker.fake_daemon import listening
from tests.services.docker.kept_containers import KeptContainers


@contextmanager
def daemon(folder, statuses: dict[str, str], *faults: str) -> Iterator[tuple[KeptContainers, Docker]]:
    with listening(str(folder / "d.sock"), KeptContainers(statuses, faults)) as kept:
        docker = Docker.connect(f"unix://{folder}/d.sock")
        try:
            yield kept, docker
        finally:
            docker.close()


def found(docker: Docker, name: str):
    container = docker.find(name)
    assert container is not None
    return container


def test_a_container_that_runs_is_stopped_and_frees_its_name(tmp_path):
    with daemon(tmp_path, {"r-0": "running", "r-1": "running"}) as (kept, docker):
        set_aside(docker, found(docker, "r-0"), 3.0)
        aside = found(docker, "r-0.former")
        assert kept.statuses == {"r-0.former": "exited", "r-1": "running"}
        assert is_set_aside(aside)
        assert original_name(aside) == "r-0"
        assert not is_set_aside(found(docker, "r-1"))
        assert kept.asked == ["POST /containers/id-r-0/stop", "POST /containers/id-r-0/rename"]


@pytest.mark.parametrize("status", ["exited", "created", "restarting", "dead"])
def test_a_container_that_did_not_run_is_removed(tmp_path, status):
    with daemon(tmp_path, {"r-0": status}) as (kept, docker):
        set_aside(docker, found(docker, "r-0"), 3.0)
        assert kept.statuses == {}


def test_a_container_that_an_earlier_update_set_aside_is_removed(tmp_path):
    with daemon(tmp_path, {"r-0": "running", "r-0.former": "exited"}) as (kept, docker):
        newer = found(docker, "r-0").id
        set_aside(docker, found(docker, "r-0"), 3.0)
        assert kept.statuses == {"r-0.former": "exited"}
        assert found(docker, "r-0.former").id == newer


def test_containers_that_were_set_aside_are_put_back_replicas_first(tmp_path):
    statuses = {"a-gateway.former": "exited", "r-0.former": "exited", "r-1": "running"}
    with daemon(tmp_path, statuses) as (kept, docker):
        assert put_back(docker, []) == ["r-0", "a-gateway"]
        assert kept.statuses == {"a-gateway": "running", "r-0": "running", "r-1": "running"}


def test_a_container_whose_place_is_taken_is_not_put_back(tmp_path):
    statuses = {"r-0.former": "exited", "r-0": "running", "gateway.former": "exited", "other-gateway": "running"}
    with daemon(tmp_path, statuses) as (kept, docker):
        assert put_back(docker, []) == []
        assert kept.statuses == statuses


def test_a_container_whose_replacement_serves_is_removed(tmp_path):
    with daemon(tmp_path, {"r-0.former": "exited", "r-0": "running", "r-1.former": "exited"}) as (kept, docker):
        assert put_back(docker, {"r-0"}) == ["r-1"]
        assert kept.statuses == {"r-0": "running", "r-1": "running"}


def test_a_container_that_cannot_be_put_back_affects_no_other(tmp_path, caplog):
    statuses = {"r-0.former": "exited", "r-1.former": "exited"}
    with daemon(tmp_path, statuses, "POST /containers/id-r-0.former/start") as (kept, docker):
        assert put_back(docker, []) == ["r-1"]
        assert kept.statuses["r-1"] == "running"
    assert "r-0 cannot be put back: Docker: a fault of the daemon" in caplog.text


def test_after_an_update_all_containers_that_were_set_aside_are_removed(tmp_path):
    with daemon(tmp_path, {"r-0.former": "exited", "r-0": "running", "gateway.former": "exited"}) as (kept, docker):
        remove_set_aside(docker)
        assert kept.statuses == {"r-0": "running"}


def test_a_container_that_cannot_be_stopped_keeps_its_name(tmp_path):
    with daemon(tmp_path, {"r-0": "running"}, "POST /containers/id-r-0/stop") as (kept, docker):
        with pytest.raises(DockerError, match="a fault of the daemon"):
            set_aside(docker, found(docker, "r-0"), 3.0)
        assert kept.statuses == {"r-0": "running"}
