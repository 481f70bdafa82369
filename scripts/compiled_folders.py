"""The folders of compiled code in the folder of run.sh: their stamps, the link to the current one, and their lock."""

import fcntl
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LINK = ROOT / ".compiled"


def library() -> str:
    """Return the name of this Python in a stamp, as `source_file` in scripts/environment does."""
    return f"python{sys.version_info.major}.{sys.version_info.minor}{sys.abiflags}"


def stamp() -> str:
    """Return the stamp of the present source for this Python."""
    told = subprocess.run([ROOT / "scripts/sources"], capture_output=True, text=True, check=True)
    return f"{told.stdout.strip()} {library()}"


def current(wanted: str) -> Path | None:
    """Return the folder that `.compiled` leads to if it has this stamp."""
    with suppress(OSError):
        folder = LINK.resolve(strict=True)
        if (folder / "stamp").read_text().strip() == wanted:
            return folder
    return None


@contextmanager
def locked() -> Iterator[None]:
    """Hold the lock of everything that is made here; wait while another process has it."""
    with (ROOT / ".compiled-lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("another process compiles here: waiting for it", file=sys.stderr, flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def sweep() -> None:
    """Remove what a killed process left half-made, and earlier folders that no process uses."""
    for left in ROOT.glob(".compiled-new-*"):
        shutil.rmtree(left, ignore_errors=True)
    if LINK.is_dir() and not LINK.is_symlink():  # of an earlier version
        LINK.rename(free_name())
    for folder in ROOT.glob(".compiled-run-*"):
        if not (LINK.is_symlink() and LINK.resolve() == folder) and not _is_used(folder):
            shutil.rmtree(folder, ignore_errors=True)


def _is_used(folder: Path) -> bool:
    try:
        with (folder / "stamp").open() as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def free_name() -> Path:
    """Return the path of the next folder of compiled code."""
    number = 1
    while (folder := ROOT / f".compiled-run-{number}").exists():
        number += 1
    return folder
