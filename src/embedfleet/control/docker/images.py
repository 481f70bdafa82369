"""Images of containers: from the daemon, else from a tar, never from the network unless that was asked for."""

import json
import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from embedfleet.control.docker.client import Docker
from embedfleet.control.docker.image_name import familiar
from embedfleet.errors import DockerError, UsageError

_CHUNK = 1 << 20
_MANIFEST = "manifest.json"

Progress = Callable[[str, int, int], None]
"""Called with what is loaded, the bytes done and the bytes in all."""


@dataclass(frozen=True, slots=True)
class Archive:
    """What a tar of images says it holds.

    Attributes:
        images: reference → id, which is the digest of the image's configuration; see `familiar` for the spelling.
    """

    file: Path
    images: dict[str, str]

    def id_of(self, reference: str) -> str:
        """The id of an image, however its reference is spelled; empty if it is not there."""
        return self.images.get(familiar(reference), "")


def read_archive(file: Path) -> Archive:
    """Read the table of a tar made by ``docker save``, and see that the tar is whole.

    Raises:
        UsageError: it is no such tar, or was cut short; the message names it.
    """
    try:
        with tarfile.open(file) as tar:
            names = {member.name.removeprefix("./"): member for member in tar}  # reads every header to the end
            manifest = json.loads(_content(tar, names, _MANIFEST))
            missing = [part for row in manifest for part in (row["Config"], *row["Layers"]) if part not in names]
            last = max(names.values(), key=lambda member: member.offset_data)
            end = last.offset_data + last.size
    except (tarfile.TarError, EOFError, KeyError, TypeError, ValueError, OSError) as error:
        raise UsageError(f"{file} is no tar of images, or was cut short: {error}", _again(file)) from error
    if missing:
        raise UsageError(f"{file} was cut short: {missing[0]} is not in it", _again(file))
    if tarfile.is_tarfile(file) and not _is_compressed(file) and file.stat().st_size < end:
        raise UsageError(f"{file} was cut short: {file.stat().st_size} bytes of {end}", _again(file))
    images = {familiar(tag): _config_digest(row["Config"]) for row in manifest for tag in row.get("RepoTags") or ()}
    return Archive(file, images)


def find_archive(reference: str, tars: Sequence[Path], folder: Path) -> tuple[Archive | None, list[str]]:
    """The tar that holds an image.

    Args:
        reference: of the image.
        tars: where it usually is.
        folder: where every other tar is looked into if it is not.

    Returns:
        The tar, or None; and what was seen of the usual ones that do not hold it.

    Raises:
        UsageError: the usual tar cannot be read.
    """
    seen = []
    for file in tars:
        if file.is_file():
            archive = read_archive(file)
            if archive.id_of(reference):
                return archive, []
            seen.append(f"{file} holds {', '.join(archive.images) or 'no named image'}")
    for file in sorted(folder.glob("*.tar*")) if folder.is_dir() else ():
        if file not in tars:
            try:
                archive = read_archive(file)
            except UsageError as error:
                seen.append(error.message)
                continue
            if archive.id_of(reference):
                return archive, []
    return None, seen


def differing_tar(found: str, reference: str, tars: Sequence[Path]) -> str:
    """In which usual tar another image lies under the reference than the daemon has, in words; empty if in none.

    Args:
        found: id of the daemon's image, by its configuration.
        reference: of the image.
        tars: where it usually is. One that is compressed is not looked into: it would have to be unpacked each time.
    """
    for file in tars:
        if not file.is_file() or _is_compressed(file):
            continue
        try:
            there = read_archive(file).id_of(reference)
        except UsageError:  # it is not needed
            continue
        if there and there != found.removeprefix("sha256:"):
            return f"the daemon's {reference} is {_short(found)}, {file} holds sha256:{there[:12]}"
    return ""


def ensure_image(
    docker: Docker, reference: str, tars: Sequence[Path], folder: Path, *, pull: bool, progress: Progress
) -> str:
    """Have an image in the daemon.

    Args:
        docker: the daemon.
        reference: of the image.
        tars: where it usually is.
        folder: of all tars.
        pull: whether the network may be asked.
        progress: see `Progress`.

    Returns:
        Its id.

    Raises:
        UsageError: it cannot be had; the message says where it was looked for.
        DockerError: the daemon cannot load it.
    """
    if found := docker.image_id(reference):
        return found
    archive, seen = find_archive(reference, tars, folder)
    if archive is not None:
        return _load(docker, reference, archive, progress)
    if pull:
        docker.pull(reference)
        return docker.image_id(reference)
    usual = ", ".join(str(file) for file in tars) or f"a tar in {folder}"
    detail = "; ".join(seen) or f"neither the daemon nor {usual} has it"
    raise UsageError(f"there is no image {reference}: {detail}", _how_to_get(reference, tars, folder))


def _load(docker: Docker, reference: str, archive: Archive, progress: Progress) -> str:
    said = docker.load(_chunks(archive.file, progress))
    loaded = docker.image_id(reference)
    wanted = archive.id_of(reference)
    if not loaded:
        raise DockerError(f"{archive.file} was loaded, but {reference} is not there: {said}", "save the image anew")
    if loaded.removeprefix("sha256:") != wanted and not docker.engine().has_containerd_store:
        raise DockerError(f"{reference} is {loaded}, but {archive.file} holds sha256:{wanted}", "save the image anew")
    return loaded


def _chunks(file: Path, progress: Progress) -> Iterator[bytes]:
    done, size = 0, file.stat().st_size
    with file.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            done += len(chunk)
            progress(file.name, done, size)
            yield chunk


def _content(tar: tarfile.TarFile, names: dict[str, tarfile.TarInfo], name: str) -> bytes:
    if name not in names:
        raise ValueError(f"it has no {name}")
    stream = tar.extractfile(names[name])
    if stream is None:
        raise ValueError(f"its {name} is no file")
    return stream.read()


def _short(image: str) -> str:
    return image[: len("sha256:") + 12]


def _config_digest(name: str) -> str:
    """``DIGEST.json`` or ``blobs/sha256/DIGEST`` → ``DIGEST``."""
    return name.rpartition("/")[2].removesuffix(".json")


def _is_compressed(file: Path) -> bool:
    with file.open("rb") as stream:
        return stream.read(2) in {b"\x1f\x8b", b"BZ", b"\xfd7"}


def _again(file: Path) -> str:
    return f"copy {file.name} anew and compare its sha256sum with the original's"


def _how_to_get(reference: str, tars: Sequence[Path], folder: Path) -> str:
    name = tars[0] if tars else folder / "image.tar"
    return f"where there is a network: docker pull {reference}; docker save -o {name} {reference}; or use --pull here"
