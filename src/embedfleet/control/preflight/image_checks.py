"""Checks of the images of the planned containers."""

from collections.abc import Iterator

from embedfleet.control.docker.images import differing_tar, find_archive
from embedfleet.control.preflight.check_result import CheckResult, blocked, ok, warning
from embedfleet.control.preflight.proposal import Proposal
from embedfleet.errors import UsageError


def check_images(proposal: Proposal) -> Iterator[CheckResult]:
    """Check that every image is in the daemon or in a tar, or may be pulled."""
    survey = proposal.survey
    if survey.docker is None:
        return
    if survey.own_image_fault is not None:
        yield blocked("image", survey.own_image_fault)
    for image in proposal.tars:
        if found := proposal.images[image]:
            yield ok("image", f"{image} is in the daemon")
            yield from _check_tar(proposal, image, found)
        else:
            yield _check_missing(proposal, image)


def _check_missing(proposal: Proposal, image: str) -> CheckResult:
    """Check that an image that the daemon lacks can be loaded or pulled."""
    fleet, tars = proposal.settings.fleet, proposal.tars[image]
    folder = proposal.settings.root / fleet.images_dir
    try:
        archive, seen = find_archive(image, tars, folder)
    except UsageError as error:
        return blocked("image", error)
    if archive is not None:
        return ok("image", f"{image} will be loaded from {archive.file}")
    if fleet.pull:
        return warning("image", f"{image} will be pulled from the network", "put its tar into images_dir to avoid that")
    detail = "; ".join(seen) or "neither the daemon nor a tar has it"
    name = tars[0] if tars else folder / "image.tar"
    hint = f"on a machine with a network: docker pull {image}; docker save -o {name} {image}"
    return blocked("image", UsageError(f"there is no image {image}: {detail}", hint))


def _check_tar(proposal: Proposal, image: str, found: str) -> Iterator[CheckResult]:
    """Warn about a tar with another image than the daemon's, because nothing shows which of the two is meant."""
    engine, tars = proposal.survey.engine, proposal.tars[image]
    if engine is not None and engine.has_containerd_store:  # its ids are not comparable with those in a tar
        return
    if differs := differing_tar(found, image, tars):
        yield warning("image", f"{differs}: the daemon's is used", f"docker load -i {tars[0]}, or remove that tar")
