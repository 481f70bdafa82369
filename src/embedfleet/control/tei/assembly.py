"""The corrected folder that a container sees instead of the model's own: rewritten files, and links to the others.

It is mounted at the path of the model's folder, which is mounted elsewhere. Mounting single files over the model's
folder would fail: it is read-only, and may lack the file.
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
"""Path in the container of the model's own folder, if an assembled one has its place."""

_OUTSIDE = "/run/embedfleet/linked"


@dataclass(frozen=True, slots=True)
class Assembly:
    """The content of an assembled model folder.

    Attributes:
        files: Content of the rewritten files, by path below the folder.
        links: Targets of the links, as paths in the container, by path below the folder; a target may be a folder.
        mounts: Paths in the container of mounted files of this machine, by their paths on this machine.
    """

    files: Mapping[str, bytes]
    links: Mapping[str, str]
    mounts: Mapping[str, str]

    @property
    def key(self) -> str:
        """Digest of the content, which names the folder, so that two models never share one."""
        digest = hashlib.sha256()
        for name, content in sorted(
            {**self.files, **{name: os.fsencode(link) for name, link in self.links.items()}}.items()
        ):
            digest.update(os.fsencode(f"{len(os.fsencode(name))} {len(content)} {name in self.files} {name}"))
            digest.update(content)
        return digest.hexdigest()[:16]


def assemble(folder: ModelFolder, verdict: Verdict) -> Assembly | None:
    """Plan the folder that TEI will see; None if it can see the model's own.

    Args:
        folder: Folder of the model.
        verdict: Verdict on the folder, without refusals.
    """
    if not (verdict.files or verdict.links):
        return None
    own = {*verdict.files, *verdict.links}
    mounts = {target: f"{_OUTSIDE}/{number}" for number, target in enumerate(dict.fromkeys(verdict.links.values()))}
    links = {name: mounts[target] for name, target in verdict.links.items()}
    opened = {PurePosixPath(name).parts[0] for name in own if "/" in name}  # subfolders with a replaced file
    for name in folder.sizes:
        top = PurePosixPath(name).parts[0]
        shown = name if top in opened else top
        if shown not in own:
            links[shown] = f"{BASE}/{shown}"
    return Assembly(verdict.files, links, mounts)


def provide_assembly(above: Path, assembly: Assembly) -> None:
    """Write an assembled folder atomically, unless it exists with exactly this content.

    Args:
        above: Folder of all assembled folders.
        assembly: Content of the folder.

    Raises:
        OSError: The folder cannot be written.
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
            folder.chmod(0o755)  # whatever the umask: the container runs as another user
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
    """Remove the assembled folders that no container uses any more.

    Args:
        above: Folder of all assembled folders.
        kept: Keys of the folders to keep.
    """
    if not kept:
        shutil.rmtree(above, ignore_errors=True)
    elif above.is_dir():
        for folder in above.iterdir():
            if folder.name not in kept:
                _remove(folder)


def _holds(folder: Path, assembly: Assembly) -> bool:
    """Whether a folder has exactly the content of an assembly, and nothing has changed it."""
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
    """List the files and links below a folder, including links to folders."""
    return [
        (above, names + [name for name in folders if Path(above, name).is_symlink()])
        for above, folders, names in os.walk(folder)
    ]


def _remove(folder: Path) -> None:
    if folder.is_symlink() or folder.is_file():
        folder.unlink()
    else:
        shutil.rmtree(folder, ignore_errors=True)
