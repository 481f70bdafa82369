"""Tars of images are found by any spelling of the reference, and reported if they differ from the daemon's image."""

import io
import json
import tarfile
from pathlib import Path

import pytest

from embedfleet.control.docker.images import differing_tar, find_archive, read_archive

OLD, NEW = "a" * 64, "b" * 64


def save(file: Path, tag: str, image: str = NEW, mode: str = "w") -> Path:
    """Write a tar as ``docker save`` does."""
    manifest = [{"Config": f"{image}.json", "RepoTags": [tag], "Layers": []}]
    file.parent.mkdir(exist_ok=True)
    with tarfile.open(file, mode) as tar:
        for name, content in ((f"{image}.json", b"{}"), ("manifest.json", json.dumps(manifest).encode())):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return file


@pytest.mark.parametrize("saved", ["nginx:latest", "docker.io/library/nginx:latest"])
@pytest.mark.parametrize("wanted", ["nginx", "nginx:latest", "docker.io/library/nginx", "docker.io/nginx:latest"])
def test_an_image_is_found_in_a_tar_however_it_is_spelled(tmp_path, saved, wanted):
    usual, other = tmp_path / "tars" / "nginx.tar", save(tmp_path / "tars" / "other.tar", saved)
    archive, _ = find_archive(wanted, (usual,), other.parent)
    assert archive is not None
    assert (archive.file, archive.id_of(wanted)) == (other, NEW)
    assert archive.id_of("nginx:1.27") == ""


def test_a_tar_with_another_image_than_the_daemons_is_reported_with_both_ids(tmp_path):
    file = save(tmp_path / "tars" / "nginx.tar", "nginx:latest")
    said = differing_tar(f"sha256:{OLD}", "docker.io/library/nginx", (file,))
    assert said == f"the daemon's docker.io/library/nginx is sha256:{OLD[:12]}, {file} holds sha256:{NEW[:12]}"
    assert differing_tar(f"sha256:{NEW}", "nginx", (file,)) == ""


def test_unreadable_compressed_and_missing_tars_are_not_compared(tmp_path):
    short = tmp_path / "short.tar"
    short.write_bytes(b"\0" * 700)
    packed = save(tmp_path / "tars" / "nginx.tar.gz", "nginx:latest", mode="w:gz")
    assert read_archive(packed).images == {"nginx:latest": NEW}
    assert differing_tar(f"sha256:{OLD}", "nginx", (short, packed, tmp_path / "none.tar")) == ""
