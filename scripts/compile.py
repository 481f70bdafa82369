"""``python -m scripts.compile FOLDER``: copy the package to FOLDER and compile the data path there with mypyc.

The compiled modules are made from the same source files and lie beside their copies; a Python of the right version and
platform imports them instead. On the data path everything is compiled except modules that await, which run seldom. The
interpreter needs mypy and setuptools; `scripts/compile` installs them and calls this module.
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
# Folders and files in the package. A class and those that derive from it are compiled together.
COMPILED = ("dialects", "gateway", "http", "metrics.py")
INTERPRETED = frozenset(
    {
        "gateway/admin.py",
        "gateway/app.py",
        "gateway/cache/answer_keeper.py",
        "gateway/calibration.py",
        "gateway/membership.py",
        "gateway/probing.py",
        "gateway/requests/no_token_refusal.py",
        "http/client.py",
        "http/unix_socket.py",
    }
)


def modules(package: Path) -> list[str]:
    """Return the files to compile, relative to the folder that the package is in."""
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
    """Compile in place; the working directory has to be ``site``.

    Args:
        site: Folder that the package is in.
        python: Interpreter with the package's dependencies, for their types.
        level: Optimization level, 0 to 3; at 0 the compiler's assumptions are checked too.
        jobs: Number of C compilers that run at the same time.
    """
    checks = ["--ignore-missing-imports", f"--python-executable={python}"]
    extensions = mypycify([*checks, *modules(site / PACKAGE)], opt_level=level, debug_level="0")
    script = ["--quiet", "build_ext", "--inplace", f"--parallel={jobs}"]
    setup(name=PACKAGE, ext_modules=extensions, script_args=script)


def main() -> None:
    """Compile the package, as the options of the command line say."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder to create; replaced if it exists")
    parser.add_argument("--python", default=sys.executable, help="interpreter with the package's dependencies")
    parser.add_argument("--level", choices="0123", default="3", help="optimization level")
    parser.add_argument("--jobs", type=int, default=2, help="C compilers that run at the same time")
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
