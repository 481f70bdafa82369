"""Another checkout of this project, measured beside this one."""

import os
import subprocess
import sys
from pathlib import Path

import embedfleet
from bench.measuring.report import missing


def versions(checkout: Path) -> tuple[Path, Path]:
    """Where Python finds embedfleet in, this one's and the other checkout's; the program ends if that is none."""
    mine, other = Path(embedfleet.__file__).resolve().parent.parent, checkout.resolve() / "src"
    if _found(other) != other:
        missing(f"{checkout} is no checkout of this project", "git worktree add FOLDER COMMIT makes one")
    return mine, other


def environment(path: Path | None) -> dict[str, str]:
    """This process's, with a folder that Python looks in first."""
    return os.environ | ({} if path is None else {"PYTHONPATH": str(path)})


def _found(path: Path) -> Path:
    """Where a Python that looks in this folder first finds embedfleet."""
    command = [sys.executable, "-c", "import embedfleet; print(embedfleet.__file__)"]
    done = subprocess.run(command, env=environment(path), stdout=subprocess.PIPE, text=True, check=True)
    return Path(done.stdout.strip()).resolve().parent.parent
