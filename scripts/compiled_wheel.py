"""Compiled wheels of a release that lie in the folder of run.sh, in its folder `wheels`, or beside it."""

import base64
import csv
import hashlib
import io
import os
import stat
import sys
import sysconfig
import zipfile
from collections.abc import Iterator
from pathlib import Path

PACKAGE = "embedfleet"


def unpack_fitting(root: Path, site: Path) -> Path | None:
    """Unpack the first wheel that fits this Python and was made of this source; return its path, or None.

    A wheel that does not fit is named on stderr with the reason.

    Args:
        root: Folder of run.sh, with `src`.
        site: Folder to create.

    Raises:
        OSError: The folder cannot be written.
    """
    for wheel in candidates(root):
        fault = fault_of(wheel, root / "src")
        if not fault:
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(site, [name for name in archive.namelist() if name.startswith(f"{PACKAGE}/")])
            return wheel
        print(f"{wheel} is not used: {fault}", file=sys.stderr)
    return None


def candidates(root: Path) -> Iterator[Path]:
    """Yield the wheels that are compiled for this Python and platform, by their names."""
    python = f"cp{sys.version_info.major}{sys.version_info.minor}"
    platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
    for folder in (root, root / "wheels", root.parent):
        yield from sorted(folder.glob(f"{PACKAGE}-*-{python}-{python}-{platform}.whl"))


def fault_of(wheel: Path, source: Path) -> str:
    """Return why a wheel is not used; empty if it is.

    It was made of this source if the Python files in both are the same.
    """
    about = wheel.stat()
    if about.st_uid not in {0, os.geteuid()} or about.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return "another user can write it"
    try:
        with zipfile.ZipFile(wheel) as archive:
            return _fault_in(archive, source)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        return f"it is damaged ({error})"


def _fault_in(archive: zipfile.ZipFile, source: Path) -> str:
    names = {name for name in archive.namelist() if name.startswith(f"{PACKAGE}/")}
    if any(".." in Path(name).parts for name in names):
        return "it is damaged (a path leads out of it)"
    if not any(name.endswith(".so") for name in names):
        return "it has no compiled module"
    (record,) = (name for name in archive.namelist() if name.endswith(".dist-info/RECORD"))
    digests = {row[0]: row[1] for row in csv.reader(io.StringIO(archive.read(record).decode())) if row}
    for name in names:
        found = base64.urlsafe_b64encode(hashlib.sha256(archive.read(name)).digest()).rstrip(b"=").decode()
        if digests.get(name) != f"sha256={found}":
            return f"it is damaged ({name} is not what its list says)"
    files = {f"{path.relative_to(source)}": path for path in (source / PACKAGE).rglob("*.py")}
    theirs = {name for name in names if name.endswith(".py")}
    different = [name for name in sorted(theirs | set(files)) if name not in files or name not in theirs]
    different += [name for name in sorted(theirs & set(files)) if archive.read(name) != files[name].read_bytes()]
    return f"it was made of another source (for example {different[0]})" if different else ""
