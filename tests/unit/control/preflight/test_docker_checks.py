"""The daemon's disk must have room for every image that is loaded from a tar, including our own."""

from embedfleet.config.load import load
from embedfleet.control.preflight.docker_checks import bytes_to_load, check_disk
from embedfleet.control.preflight.proposal import propose
from tests.services.docker.fake_daemon import FakeDaemon, listening
from tests.services.tei_folders import write_embedder
from tests.unit.control.docker.test_images import save

TEI = "ghcr.io/huggingface/text-embeddings-inference:cpu-1.9.3"


def test_every_missing_image_counts_including_our_own(tmp_path):
    write_embedder(tmp_path / "models/bge-m3")
    (tmp_path / "fleet.toml").touch()
    own = save(tmp_path / "tei-images/embedfleet.tar", "embedfleet:latest")
    tei = save(tmp_path / "tei-images/text-embeddings-inference-cpu.tar", TEI)
    flags = {
        "reranker.enabled": "false",
        "embedder.driver": "docker",
        "fleet.docker_host": f"unix://{tmp_path}/d.sock",
    }
    for images, missing in ((set(), [own, tei]), ({TEI}, [own]), ({TEI, "embedfleet:latest"}, [])):
        with listening(str(tmp_path / "d.sock"), FakeDaemon(str(tmp_path), images)):
            proposal = propose(load(tmp_path / "fleet.toml", {}, flags), sockets=tmp_path)
            proposal.survey.close()
        assert bytes_to_load(proposal) == 2 * sum(file.stat().st_size for file in missing)
        (disk,) = check_disk(proposal)
        assert (disk.id, disk.state) == ("disk", "ok")
