"""A survey changes nothing, and keeps the error of what cannot be read beside everything else."""

import pytest

from embedfleet.config.load import load
from embedfleet.control.host.gpu import Gpu
from embedfleet.control.plan.machine import Machine
from embedfleet.control.preflight.doctor import examine
from embedfleet.control.preflight.proposal import propose
from embedfleet.control.preflight.survey import Resources, Survey, read_models, survey_gpus, take_survey
from embedfleet.errors import UsageError
from tests.services.docker.fake_daemon import FakeDaemon, listening
from tests.services.tei_folders import write_embedder

RESOURCES = Resources(2, 2, None, [], 1024)


@pytest.fixture
def settings(tmp_path):
    write_embedder(tmp_path / "models/bge-m3")
    (tmp_path / "fleet.toml").touch()
    flags = {
        "reranker.enabled": "false",
        "embedder.driver": "docker",
        "fleet.docker_host": f"unix://{tmp_path}/d.sock",
    }
    return load(tmp_path / "fleet.toml", {}, flags)


class Ailing(FakeDaemon):
    """A daemon that cannot answer ``/info``."""

    def _answer(self, path, exchange, query):
        return (500, {"message": "out of order"}) if path == "/info" else super()._answer(path, exchange, query)


def test_everything_is_asked_and_nothing_is_written(settings, tmp_path):
    before = set(tmp_path.rglob("*"))
    with listening(str(tmp_path / "d.sock"), FakeDaemon(str(tmp_path))):
        survey = take_survey(settings)
        survey.close()
    assert set(tmp_path.rglob("*")) == before
    assert survey.engine is not None
    assert survey.machine.has_own_image
    assert survey.machine.tei_models.keys() == survey.machine.model_digests.keys() == {"embedder"}
    assert (survey.docker_fault, survey.gpu_fault, survey.driver_fault, dict(survey.model_faults)) == (None,) * 3 + (
        {},
    )


def test_a_daemon_without_an_answer_leaves_its_error_and_all_other_facts(settings, tmp_path):
    with listening(str(tmp_path / "d.sock"), Ailing(str(tmp_path))):
        survey = take_survey(settings)
    assert survey.docker_fault is not None
    assert "out of order" in survey.docker_fault.message
    assert (survey.docker, survey.engine) == (None, None)
    assert survey.machine.tei_models.keys() == {"embedder"}


def test_a_truncated_tar_of_our_image_is_one_finding_among_others(settings, tmp_path):
    (tmp_path / "tei-images").mkdir()
    (tmp_path / "tei-images/embedfleet.tar").write_bytes(b"\0" * 700)
    with listening(str(tmp_path / "d.sock"), FakeDaemon(str(tmp_path), {"nginx:latest"})):
        proposal = propose(settings, sockets=tmp_path)
        checks = {check.id: check for check in examine(proposal) if check.state == "blocked"}
        proposal.survey.close()
    assert "image" in checks
    assert proposal.survey.own_image_fault is not None
    assert "embedfleet.tar" in proposal.survey.own_image_fault.message
    assert proposal.survey.engine is not None


def test_models_are_judged_for_a_gpu_type_that_is_asked_for_and_absent(settings, tmp_path):
    flags = {"fleet.gpu": "T4", "reranker.enabled": "false"}
    absent = Survey(Machine(2), RESOURCES, gpu_fault=UsageError("T4 is asked for"))
    found = read_models(load(tmp_path / "fleet.toml", {}, flags), absent)
    assert found.models["embedder"].tei is not None
    fine = read_models(load(tmp_path / "fleet.toml", {}, flags), Survey(Machine(2), RESOURCES))
    assert fine.models["embedder"].tei is None, "without a GPU, our own engine serves"


def test_a_model_that_a_container_cannot_get_is_a_fault_of_its_service(tmp_path):
    (tmp_path / "fleet.toml").touch()
    flags = {"embedder.model": "acme/tiny", "reranker.enabled": "false"}
    t4 = Gpu(0, "GPU-0", "Tesla T4", 75, 16 << 30, 15 << 30)
    found = read_models(load(tmp_path / "fleet.toml", {}, flags), Survey(Machine(2, (t4,)), RESOURCES))
    assert found.model_faults.keys() == {"embedder"}
    assert "is a hub id" in found.model_faults["embedder"].message


def test_the_gpus_alone_need_neither_daemon_nor_models(settings):
    survey = survey_gpus(settings)
    assert (survey.docker, survey.docker_fault, dict(survey.models)) == (None, None, {})
    assert survey.machine.cores >= 1
    with pytest.raises(UsageError, match="unknown GPU type K80"):
        survey_gpus(load(None, {}, {"fleet.gpu": "K80"}))
