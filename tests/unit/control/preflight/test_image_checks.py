"""An image is in the daemon or a tar, or may be pulled; otherwise the check blocks the start and says how to get it."""

from dataclasses import replace

import pytest

from embedfleet.config.load import load
from embedfleet.control.preflight.image_checks import check_images
from embedfleet.control.preflight.proposal import propose
from embedfleet.errors import UsageError
from tests.services.docker.fake_daemon import FakeDaemon, listening
from tests.services.tei_folders import write_embedder
from tests.unit.control.docker.test_images import save

TEI = "ghcr.io/huggingface/text-embeddings-inference:cpu-1.9.3"
OWN = "embedfleet:latest"
SAME, OTHER = "a" * 64, "b" * 64  # all images of the fake daemon have the first id


def checks(root, images: set[str], **flags: str):
    """The checks, and the proposal, of a fleet of one service whose replicas and gateway are containers."""
    write_embedder(root / "models/bge-m3")
    (root / "fleet.toml").touch()
    settings = {"reranker.enabled": "false", "embedder.driver": "docker", "fleet.docker_host": f"unix://{root}/d.sock"}
    settings |= {key.replace("__", "."): value for key, value in flags.items()}
    with listening(str(root / "d.sock"), FakeDaemon(str(root), images)):
        proposal = propose(load(root / "fleet.toml", {}, settings), sockets=root)
        found = list(check_images(proposal))
        proposal.survey.close()
    return found, proposal


def tar(root, image: str):
    return save(root / "tei-images/text-embeddings-inference-cpu.tar", TEI, image)


def test_an_image_that_the_daemon_has_needs_no_tar(tmp_path):
    found, _ = checks(tmp_path, {TEI, OWN})
    assert found
    assert {check.state for check in found} == {"ok"}
    assert f"{TEI} is in the daemon" in [check.message for check in found]


def test_an_image_that_only_a_tar_has_is_loaded_from_there(tmp_path):
    file = tar(tmp_path, OTHER)
    found, _ = checks(tmp_path, {OWN})
    assert f"{TEI} will be loaded from {file}" in [check.message for check in found if check.state == "ok"]


def test_a_missing_image_blocks_the_start_and_the_hint_says_how_to_get_it(tmp_path):
    found, _ = checks(tmp_path, {OWN})
    (blocked,) = [check for check in found if check.state == "blocked"]
    assert blocked.message.startswith(f"there is no image {TEI}: ")
    assert f"docker pull {TEI}; docker save -o " in blocked.hint


def test_an_image_is_pulled_only_if_that_is_allowed(tmp_path):
    found, _ = checks(tmp_path, {OWN}, fleet__pull="true")
    (warned,) = [check for check in found if check.state == "warn"]
    assert warned.message == f"{TEI} will be pulled from the network"


@pytest.mark.parametrize(("image", "warns"), [(SAME, False), (OTHER, True)])
def test_a_tar_with_another_image_than_the_daemons_is_a_warning(tmp_path, image, warns):
    file = tar(tmp_path, image)
    found, _ = checks(tmp_path, {TEI, OWN})
    warned = [check for check in found if check.state == "warn"]
    assert bool(warned) is warns
    if warns:
        assert warned[0].message.endswith(f"{file} holds sha256:{OTHER[:12]}: the daemon's is used")


def test_an_unreadable_tar_of_our_image_blocks_and_without_a_daemon_nothing_is_checked(tmp_path):
    _, proposal = checks(tmp_path, {TEI, OWN})
    fault = UsageError("no image in it", "save it again")
    broken = replace(proposal, survey=replace(proposal.survey, own_image_fault=fault))
    first, *_ = check_images(broken)
    assert (first.state, first.message) == ("blocked", "no image in it")
    assert list(check_images(replace(proposal, survey=replace(proposal.survey, docker=None)))) == []
