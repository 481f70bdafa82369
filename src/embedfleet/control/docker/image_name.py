"""What the reference of an image means, as Docker reads it. Pure."""

_HUB, _LIBRARY, _LATEST = "docker.io/", "library/", "latest"


def split_reference(reference: str) -> tuple[str, str]:
    """``localhost:5000/tei:1.9`` → (``localhost:5000/tei``, ``1.9``); a digest stands for a tag, none is ``latest``."""
    name, at, digest = reference.partition("@")
    if at:
        return _without_tag(name)[0], digest
    repository, tag = _without_tag(name)
    return repository, tag or _LATEST


def familiar(reference: str) -> str:
    """The one spelling of a reference: ``docker.io/library/nginx`` → ``nginx:latest``."""
    repository, tag = split_reference(reference)
    repository = repository.removeprefix("index.").removeprefix(_HUB).removeprefix(_LIBRARY)
    return f"{repository}@{tag}" if "@" in reference else f"{repository}:{tag}"


def _without_tag(name: str) -> tuple[str, str]:
    """A colon before the last slash belongs to a port."""
    folder, slash, last = name.rpartition("/")
    last, _, tag = last.partition(":")
    return f"{folder}{slash}{last}", tag
