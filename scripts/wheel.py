"""``python -m scripts.wheel OUT``: builds a wheel with the compiled data path, for this platform and this Python.

It is the ordinary wheel with compiled modules beside their sources; Python imports those that fit it. Needs the
packages build, hatchling and wheel, and mypy and setuptools for compiling.
"""

import argparse
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGE = "embedfleet"


def run(*arguments: str) -> None:
    """Run a module with this Python.

    Raises:
        CalledProcessError: The module failed; its output is on stderr.
    """
    subprocess.run([sys.executable, "-m", *arguments], cwd=ROOT, check=True, stdout=sys.stderr)


def tags() -> dict[str, str]:
    """Return the tags of a wheel that only this Python can install."""
    python = f"cp{sys.version_info.major}{sys.version_info.minor}"
    return {"python": python, "abi": python, "platform": sysconfig.get_platform().replace("-", "_").replace(".", "_")}


def add_compiled(unpacked: Path, compiled: Path) -> int:
    """Put the compiled modules beside their sources.

    Args:
        unpacked: Folder of an unpacked ordinary wheel.
        compiled: Folder that `scripts.compile` made.

    Returns:
        Number of compiled modules.
    """
    modules = sorted(compiled.rglob("*.so"))
    for module in modules:
        shutil.copy2(module, unpacked / module.relative_to(compiled))
    (about,) = unpacked.glob("*.dist-info/WHEEL")
    about.write_text(about.read_text().replace("Root-Is-Purelib: true", "Root-Is-Purelib: false"))
    return len(modules)


def build(out: Path, compiled: Path | None) -> Path:
    """Make the wheel.

    Args:
        out: Folder for the wheel.
        compiled: Folder that `scripts.compile` made of this source; None to make one.

    Returns:
        Path of the wheel.
    """
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as made:
        work = Path(made)
        if compiled is None:
            compiled = work / "compiled"
            run("scripts.compile", str(compiled))
        run("build", "--wheel", "--no-isolation", "--outdir", str(work / "plain"), str(ROOT))
        (plain,) = (work / "plain").glob("*.whl")
        run("wheel", "unpack", str(plain), "--dest", str(work / "unpacked"))
        (unpacked,) = (work / "unpacked").iterdir()
        if not add_compiled(unpacked, compiled):
            sys.exit(f"error: {compiled} has no compiled module\n\nhint: scripts.compile makes one")
        run("wheel", "pack", str(unpacked), "--dest-dir", str(work / "plain"))
        wanted = [f"--{part}-tag={value}" for part, value in tags().items()]
        run("wheel", "tags", "--remove", *wanted, str(plain))
        (wheel,) = (work / "plain").glob("*.whl")
        return Path(shutil.copy2(wheel, out))


def main() -> None:
    """Build the wheel that the arguments ask for and print its path."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder for the wheel")
    parser.add_argument(
        "--compiled", type=Path, help="folder that scripts.compile made of this source; made if not given"
    )
    given = parser.parse_args()
    print(build(given.out.absolute(), given.compiled and given.compiled.absolute()))


if __name__ == "__main__":
    main()
