"""The compiled gateway passes the gateway's own tests."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent.parent
DATA_PATH = re.compile(r"^from embedfleet\.(dialects|gateway|http|metrics)\b", re.MULTILINE)
PROPERTIES = [file for file in (ROOT / "tests/properties").glob("test_*.py") if DATA_PATH.search(file.read_text())]
SUITES = ("tests/unit/gateway", "tests/unit/http", "tests/unit/dialects", *map(str, PROPERTIES), "tests/e2e/gateway")
LIMIT_S = 900
HEADER = Path(sysconfig.get_path("include"), "Python.h")
WHICH = "import embedfleet.gateway.proxy as p, embedfleet.http.connection as c; print(p.__file__, c.__file__)"
# What mypyc makes of a class that derives from an interpreted one, ABC among them, can be weakly referenced and never
# says that it is gone: the reference is freed while others have it (mypyc/mypyc#1102).
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

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        (shutil.which("cc") is None or not HEADER.exists()) and "CI" not in os.environ,
        reason="there is no C compiler, or Python's headers are not installed",
    ),
]


def python(*arguments, path=ROOT / "src"):
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


def test_the_gateway_is_itself_when_it_is_compiled(tmp_path):
    """The gateway's tests pass and a wheel carries the modules, in one test because the compiler takes a minute."""
    compiled = tmp_path / "compiled"
    # Unoptimized, which also checks what the compiler takes for granted.
    python("-m", "scripts.compile", str(compiled), "--level", "0")
    assert all(name.endswith(".so") for name in python("-c", WHICH, path=compiled).split())
    assert python("-c", DANGLING, path=compiled).split() == [], "a weak reference to these ends the process"
    check_wheel(compiled, tmp_path)
    told = python("-m", "pytest", "-q", "-p", "no:cacheprovider", f"--ignore={__file__}", *SUITES, path=compiled)
    assert "passed" in told.splitlines()[-1]


def check_wheel(compiled, folder):
    wheel = Path(python("-m", "scripts.wheel", str(folder / "out"), "--compiled", str(compiled)).split()[-1])
    assert wheel.name.split("-")[2:4] == [f"cp3{sys.version_info.minor}"] * 2
    site = folder / "site"
    python("-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(site), str(wheel))
    imported = [Path(name) for name in python("-P", "-c", WHICH, path=site).split()]
    assert all(file.suffix == ".so" and file.is_relative_to(site) for file in imported)
    assert (site / "embedfleet/dialects/splitting/texts.py").is_file(), "the sources are there too, for tracebacks"
