"""Parsing and canonical spelling of image references, by Docker's rules; pure."""

_HUB, _LIBRARY, _LATEST = "docker.io/", "library/", "latest"


def split_reference(reference: str) -> tuple[str, str]:
    """Split a reference into repository and tag: ``localhost:5000/tei:1.9`` → (``localhost:5000/tei``, ``1.9``).

    A digest takes the place of a tag; a reference without either has the tag ``latest``.
    """
    name, at, digest = reference.partition("@")
    if at:
        return _without_tag(name)[0], digest
    repository, tag = _without_tag(name)
    return repository, tag or _LATEST


def familiar(reference: str) -> str:
    """Return the canonical spelling of a reference: ``docker.io/library/nginx`` → ``nginx:latest``."""
    repository, tag = split_reference(reference)
    repository = repository.removeprefix("index.").removeprefix(_HUB).removeprefix(_LIBRARY)
    return f"{repository}@{tag}" if "@" in reference else f"{repository}:{tag}"


def _without_tag(name: str) -> tuple[str, str]:
    """Split a name into repository and tag; a colon before the last slash belongs to a port."""
    folder, slash, last = name.rpartition("/")
    last, _, tag = last.partition(":")
    return f"{folder}{slash}{last}", tag
