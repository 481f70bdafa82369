"""Another checkout of this project to compare with."""

import os
import subprocess
import sys
from pathlib import Path

import embedfleet
from bench.measuring.report import missing


def versions(checkout: Path) -> tuple[Path, Path]:
    """Source folders of this version and of another checkout; exits if there is none."""
    mine, other = Path(embedfleet.__file__).resolve().parent.parent, checkout.resolve() / "src"
    if _found(other) != other:
        missing(f"{checkout} is not a checkout of this project", "git worktree add FOLDER COMMIT makes one")
    return mine, other


def environment(path: Path | None) -> dict[str, str]:
    """This process's environment, with a folder that Python searches first."""
    return os.environ | ({} if path is None else {"PYTHONPATH": str(path)})


def _found(path: Path) -> Path:
    """Folder in which Python finds embedfleet if it searches ``path`` first."""
    command = [sys.executable, "-c", "import embedfleet; print(embedfleet.__file__)"]
    done = subprocess.run(command, env=environment(path), stdout=subprocess.PIPE, text=True, check=True)
    return Path(done.stdout.strip()).resolve().parent.parent
