"""Images of containers, taken from the daemon, else from a tar, else from the network if the settings allow it."""

import json
import tarfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from embedfleet.config.settings import Settings
from embedfleet.control.docker.client import Docker
from embedfleet.control.docker.image_name import familiar
from embedfleet.control.plan.specs import ContainerSpec
from embedfleet.errors import DockerError, UsageError

_CHUNK = 1 << 20
_MANIFEST = "manifest.json"

Progress = Callable[[str, int, int], None]
"""Function that is called while a tar is loaded, with its name, the bytes loaded so far and its size in bytes."""


@dataclass(frozen=True, slots=True)
class Archive:
    """The table of contents of a tar of images.

    Attributes:
        file: Path of the tar.
        images: Id of each image, by its reference as `familiar` spells it. The id is the digest of its configuration.
    """

    file: Path
    images: dict[str, str]

    def id_of(self, reference: str) -> str:
        """Return the id of an image, for any spelling of its reference; empty if the tar lacks it."""
        return self.images.get(familiar(reference), "")


def read_archive(file: Path) -> Archive:
    """Read the table of contents of a tar made by ``docker save``, and check that the tar is complete.

    Raises:
        UsageError: The file is not such a tar, or is truncated.
    """
    try:
        with tarfile.open(file) as tar:
            names = {member.name.removeprefix("./"): member for member in tar}  # reads every header to the end
            manifest = json.loads(_content(tar, names, _MANIFEST))
            missing = [part for row in manifest for part in (row["Config"], *row["Layers"]) if part not in names]
            last = max(names.values(), key=lambda member: member.offset_data)
            end = last.offset_data + last.size
    except (tarfile.TarError, EOFError, KeyError, TypeError, ValueError, OSError) as error:
        raise UsageError(f"{file} is not a tar of images, or is truncated: {error}", _again(file)) from error
    if missing:
        raise UsageError(f"{file} is truncated: {missing[0]} is not in it", _again(file))
    if tarfile.is_tarfile(file) and not _is_compressed(file) and file.stat().st_size < end:
        raise UsageError(f"{file} is truncated: {file.stat().st_size} bytes of {end}", _again(file))
    images = {familiar(tag): _config_digest(row["Config"]) for row in manifest for tag in row.get("RepoTags") or ()}
    return Archive(file, images)


def find_archive(reference: str, tars: Sequence[Path], folder: Path) -> tuple[Archive | None, list[str]]:
    """Find the tar that holds an image.

    Args:
        reference: Reference of the image.
        tars: Paths of the usual tars of the image.
        folder: Folder whose other tars are searched if none of the usual files holds the image.

    Returns:
        The tar, or None; and a sentence on each file that does not hold the image.

    Raises:
        UsageError: A usual file cannot be read.
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
    """Describe a usual tar whose image differs from the daemon's; empty if none differs.

    Args:
        found: Id of the daemon's image, which is the digest of its configuration.
        reference: Reference of the image.
        tars: Paths of the usual tars. A compressed one is skipped, since it would have to be unpacked each time.
    """
    for file in tars:
        if not file.is_file() or _is_compressed(file):
            continue
        try:
            there = read_archive(file).id_of(reference)
        except UsageError:  # the daemon has the image, so the tar is not needed
            continue
        if there and there != found.removeprefix("sha256:"):
            return f"the daemon's {reference} is {_short(found)}, {file} holds sha256:{there[:12]}"
    return ""


def provide_images(docker: Docker, settings: Settings, containers: Iterable[ContainerSpec], progress: Progress) -> None:
    """Load or pull every image of these containers that the daemon lacks.

    Raises:
        UsageError: An image was not found.
        DockerError: The daemon cannot load an image.
    """
    folder = settings.root / settings.fleet.images_dir
    for reference, tars in {spec.image: spec.tars for spec in containers}.items():
        ensure_image(docker, reference, tars, folder, pull=settings.fleet.pull, progress=progress)


def ensure_image(
    docker: Docker, reference: str, tars: Sequence[Path], folder: Path, *, pull: bool, progress: Progress
) -> str:
    """Return the id of an image in the daemon, after loading or pulling it if the daemon lacks it.

    Args:
        docker: Docker daemon.
        reference: Reference of the image.
        tars: Paths of the usual tars of the image.
        folder: Folder of all tars.
        pull: Whether it may be pulled from the network.
        progress: Function that is called while a tar is loaded.

    Raises:
        UsageError: The image was not found; the message lists the places that were searched.
        DockerError: The daemon cannot load it.
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
    report = docker.load(_chunks(archive.file, progress))
    loaded = docker.image_id(reference)
    wanted = archive.id_of(reference)
    if not loaded:
        raise DockerError(
            f"{archive.file} was loaded, but the daemon has no {reference}: {report}", "save the image again"
        )
    if loaded.removeprefix("sha256:") != wanted and not docker.engine().has_containerd_store:
        raise DockerError(f"{reference} is {loaded}, but {archive.file} holds sha256:{wanted}", "save the image again")
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
        raise ValueError(f"its {name} is not a file")
    return stream.read()


def _short(image: str) -> str:
    return image[: len("sha256:") + 12]


def _config_digest(name: str) -> str:
    """Return the digest in a path: ``DIGEST.json`` or ``blobs/sha256/DIGEST`` → ``DIGEST``."""
    return name.rpartition("/")[2].removesuffix(".json")


def _is_compressed(file: Path) -> bool:
    with file.open("rb") as stream:
        return stream.read(2) in {b"\x1f\x8b", b"BZ", b"\xfd7"}


def _again(file: Path) -> str:
    return f"copy {file.name} again, and compare its sha256sum with the original's"


def _how_to_get(reference: str, tars: Sequence[Path], folder: Path) -> str:
    name = tars[0] if tars else folder / "image.tar"
    return (
        f"on a machine with a network: docker pull {reference}; docker save -o {name} {reference}; or use --pull here"
    )
