"""The gateway's tests for the compiled data path, and what else has to be true of compiled modules."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
DATA_PATH = re.compile(r"^from embedfleet\.(dialects|gateway|http|metrics)\b", re.MULTILINE)
PROPERTIES = [str(file) for file in (ROOT / "tests/properties").glob("test_*.py") if DATA_PATH.search(file.read_text())]
BY_HOST = "tests/e2e/gateway/test_compiled.py"
# Arguments of pytest that run the gateway's tests, except the one that does that.
SUITE = (
    *("-q", "-p", "no:cacheprovider", f"--ignore={BY_HOST}"),
    *("tests/unit/gateway", "tests/unit/http", "tests/unit/dialects", *PROPERTIES, "tests/e2e/gateway"),
)
LIMIT_S = 900
WHICH = "import embedfleet.gateway.proxy as p, embedfleet.http.connection as c; print(p.__file__, c.__file__)"
# mypyc makes a class that derives from an interpreted one, such as ABC, weakly referenceable. But its objects do not
# clear their weak references at their end, so that a reference is freed while it is in use (mypyc/mypyc#1102).
DANGLING = """
import importlib, inspect, pkgutil
import embedfleet
names = [module.name for module in pkgutil.walk_packages(embedfleet.__path__, "embedfleet.")]
paths = ("embedfleet.gateway.", "embedfleet.http.", "embedfleet.dialects.", "embedfleet.metrics")
modules = [importlib.import_module(name) for name in names if name.startswith(paths)]
classes = {one for module in modules for one in vars(module).values() if inspect.isclass(one)}
native = [one for one in classes if "__mypyc_attrs__" in vars(one) and not getattr(one, "_is_protocol", False)]
assert len(native) > 50, native
print(*[one.__qualname__ for one in native if one.__weakrefoffset__])
"""


def python(*arguments: str, path: Path = ROOT / "src") -> str:
    """Run this Python with the package of another folder; return its output."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(path)},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return done.stdout


def check_modules(compiled: Path, folder: Path) -> None:
    """Check that the modules of a folder are compiled and safe, and that a wheel carries them."""
    assert all(name.endswith(".so") for name in python("-c", WHICH, path=compiled).split())
    assert python("-c", DANGLING, path=compiled).split() == [], (
        "a weak reference to an object of these classes ends the process"
    )
    _check_wheel(compiled, folder)


def _check_wheel(compiled: Path, folder: Path) -> None:
    wheel = Path(python("-m", "scripts.wheel", str(folder / "out"), "--compiled", str(compiled)).split()[-1])
    assert wheel.name.split("-")[2:4] == [f"cp3{sys.version_info.minor}"] * 2
    site = folder / "site"
    python("-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(site), str(wheel))
    imported = [Path(name) for name in python("-P", "-c", WHICH, path=site).split()]
    assert all(file.suffix == ".so" and file.is_relative_to(site) for file in imported)
    sources = [file.relative_to(ROOT / "src") for file in (ROOT / "src/embedfleet").rglob("*.py")]
    # A folder once stayed out, because .gitignore named it. The sources of compiled modules are for tracebacks.
    assert [str(file) for file in sources if not (site / file).is_file()] == []
