"""``python -m scripts.compile FOLDER``: a copy of the package in FOLDER, with what a request passes compiled by mypyc.

The source stays what it is: the compiled modules are made of the same files, lie beside their copies, and are what
Python imports where they fit it. Of that path everything is compiled that waits for nothing; what awaits is called
seldom. Run by an interpreter that has mypy and setuptools; `scripts/compile` gets them and calls this.
"""

import argparse
import contextlib
import shutil
import sys
import tempfile
from pathlib import Path

from mypyc.build import mypycify
from setuptools import setup

ROOT = Path(__file__).parent.parent
PACKAGE = "embedfleet"
# In the package: folders and files. A class and those that derive from it are compiled together.
COMPILED = ("dialects", "gateway", "http", "metrics.py")
INTERPRETED = frozenset(
    {
        "gateway/admin.py",
        "gateway/app.py",
        "gateway/calibration.py",
        "gateway/membership.py",
        "gateway/probing.py",
        "gateway/requests/tokenless.py",
        "http/client.py",
        "http/unix_socket.py",
    }
)


def modules(package: Path) -> list[str]:
    """The files to compile, from the folder that the package is in."""
    found: list[str] = []
    for name in COMPILED:
        at = package / name
        files = [at] if at.is_file() else sorted(at.rglob("*.py"))
        wanted = [
            file for file in files if str(file.relative_to(package)) not in INTERPRETED and file.stem != "__init__"
        ]
        found += [str(file.relative_to(package.parent)) for file in wanted]
    return found


def build(site: Path, python: str, *, level: str, jobs: int) -> None:
    """Compile in place; the working directory is to be ``site``, which has the package.

    Args:
        site: the folder that the package is in.
        python: an interpreter that has what the package imports, for its types.
        level: of optimization, 0 to 3; 0 also checks what the compiler takes for granted.
        jobs: C compilers at a time.
    """
    checks = ["--ignore-missing-imports", f"--python-executable={python}"]
    extensions = mypycify([*checks, *modules(site / PACKAGE)], opt_level=level, debug_level="0")
    script = ["--quiet", "build_ext", "--inplace", f"--parallel={jobs}"]
    setup(name=PACKAGE, ext_modules=extensions, script_args=script)


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="made anew")
    parser.add_argument("--python", default=sys.executable, help="an interpreter with the package's dependencies")
    parser.add_argument("--level", choices="0123", default="3", help="of optimization")
    parser.add_argument("--jobs", type=int, default=2, help="C compilers at a time")
    given = parser.parse_args()
    folder: Path = given.folder.absolute()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as made:
        site = Path(made) / "site"
        shutil.copytree(ROOT / "src" / PACKAGE, site / PACKAGE, ignore=shutil.ignore_patterns("__pycache__"))
        with contextlib.chdir(site):
            build(site, given.python, level=given.level, jobs=given.jobs)
        for left in ("build", ".mypy_cache"):
            shutil.rmtree(site / left, ignore_errors=True)
        shutil.rmtree(folder, ignore_errors=True)
        site.rename(folder)


if __name__ == "__main__":
    main()
