"""The folder that a container sees in place of a model's: rewritten files, and links to all the others.

It is mounted where the model's folder would be, and that folder beside it. A file cannot be mounted over a folder that
is read-only and lacks it; a link can lie beside it.
"""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from embedfleet.control.models.folder import ModelFolder
from embedfleet.control.tei.verdict import Verdict

BASE = "/run/embedfleet/model"
"""Where a container has the model's own folder, if another is in its place."""

_OUTSIDE = "/run/embedfleet/linked"


@dataclass(frozen=True, slots=True)
class Assembly:
    """What such a folder holds.

    Attributes:
        files: written ones, by name below it.
        links: name → where in the container that lies; a folder's name stands for all that is in it.
        mounts: files of this machine → where the container has them.
    """

    files: Mapping[str, bytes]
    links: Mapping[str, str]
    mounts: Mapping[str, str]

    @property
    def key(self) -> str:
        """A digest of all that is in it: by this it is found again, so that two models never mix."""
        digest = hashlib.sha256()
        for name, content in sorted(
            {**self.files, **{name: os.fsencode(link) for name, link in self.links.items()}}.items()
        ):
            digest.update(os.fsencode(f"{len(os.fsencode(name))} {len(content)} {name in self.files} {name}"))
            digest.update(content)
        return digest.hexdigest()[:16]


def assemble(folder: ModelFolder, verdict: Verdict) -> Assembly | None:
    """The folder that TEI is to see; None if the model's own will do.

    Args:
        folder: of the model.
        verdict: on it, which refuses nothing.
    """
    if not (verdict.files or verdict.links):
        return None
    own = {*verdict.files, *verdict.links}
    mounts = {target: f"{_OUTSIDE}/{number}" for number, target in enumerate(dict.fromkeys(verdict.links.values()))}
    links = {name: mounts[target] for name, target in verdict.links.items()}
    opened = {PurePosixPath(name).parts[0] for name in own if "/" in name}  # folders of which a file is another
    for name in folder.sizes:
        top = PurePosixPath(name).parts[0]
        shown = name if top in opened else top
        if shown not in own:
            links[shown] = f"{BASE}/{shown}"
    return Assembly(verdict.files, links, mounts)


def provide_assembly(above: Path, assembly: Assembly) -> None:
    """Have the folder there, whole and with nothing else in it.

    Args:
        above: the folder of all of them.
        assembly: what it holds.

    Raises:
        OSError: it cannot be written.
    """
    target = above / assembly.key
    if _holds(target, assembly):
        return
    above.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix=".new-", dir=above))
    try:
        for name in (*assembly.files, *assembly.links):
            (made / name).parent.mkdir(parents=True, exist_ok=True)
        for folder in (made, *(path for path in made.rglob("*") if path.is_dir())):
            folder.chmod(0o755)  # whatever the umask: the container's user is another
        for name, content in assembly.files.items():
            (made / name).write_bytes(content)
            (made / name).chmod(0o644)
        for name, link in assembly.links.items():
            (made / name).symlink_to(link)
        _remove(target)
        made.rename(target)
    finally:
        shutil.rmtree(made, ignore_errors=True)


def remove_assemblies(above: Path, kept: Collection[str] = ()) -> None:
    """Remove the folders that no container has any more.

    Args:
        above: the folder of all of them.
        kept: keys of those that stay.
    """
    if not kept:
        shutil.rmtree(above, ignore_errors=True)
    elif above.is_dir():
        for folder in above.iterdir():
            if folder.name not in kept:
                _remove(folder)


def _holds(folder: Path, assembly: Assembly) -> bool:
    """Whether a folder is as it should be: somebody may have written into it."""
    try:
        there = {str(Path(above, name).relative_to(folder)) for above, names in _walk(folder) for name in names}
        return (
            there == {*assembly.files, *assembly.links}
            and all(
                (folder / name).read_bytes() == content and not (folder / name).is_symlink()
                for name, content in assembly.files.items()
            )
            and all(str((folder / name).readlink()) == link for name, link in assembly.links.items())
        )
    except OSError:
        return False


def _walk(folder: Path) -> list[tuple[str, list[str]]]:
    """Files and links below a folder, links to folders among them."""
    return [
        (above, names + [name for name in folders if Path(above, name).is_symlink()])
        for above, folders, names in os.walk(folder)
    ]


def _remove(folder: Path) -> None:
    if folder.is_symlink() or folder.is_file():
        folder.unlink()
    else:
        shutil.rmtree(folder, ignore_errors=True)
