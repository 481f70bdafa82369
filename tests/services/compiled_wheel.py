"""A small wheel with one real extension module, as the release workflow names it."""

import base64
import csv
import hashlib
import io
import subprocess
import sysconfig
import zipfile
from pathlib import Path

from scripts.wheel import tags

CODE = """#include <Python.h>
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "metrics", 0, -1, 0};
PyMODINIT_FUNC PyInit_metrics(void) { return PyModule_Create(&module); }
"""
ABOUT = "embedfleet-0.1.0.dist-info"
# What the job imports, to see that compiled modules work.
IMPORTED = ("gateway/__init__.py", "gateway/proxy.py", "http/__init__.py", "http/connection.py", "metrics.py")


def add_sources(source: Path) -> None:
    """Add the modules to a stand-in for the package."""
    for name in IMPORTED:
        file = source / "embedfleet" / name
        file.parent.mkdir(exist_ok=True)
        file.touch()


def extension(folder: Path) -> bytes:
    """Compile the extension module."""
    (folder / "metrics.c").write_text(CODE)
    command = ["cc", "-shared", "-fPIC", f"-I{sysconfig.get_path('include')}", "metrics.c", "-o", "metrics.so"]
    subprocess.run(command, cwd=folder, check=True)
    return (folder / "metrics.so").read_bytes()


def make_wheel(folder: Path, source: Path, module: bytes, **changes: bytes) -> Path:
    """Make a wheel of the package in ``source``.

    Args:
        folder: Folder of the wheel.
        source: Folder that the package is in.
        module: Content of the extension module.
        changes: Content of files that differ from what the wheel's list says, by their name with ``__`` for ``/``.
    """
    named = tags()
    wheel = folder / f"embedfleet-0.1.0-{named['python']}-{named['abi']}-{named['platform']}.whl"
    files = {str(path.relative_to(source)): path.read_bytes() for path in source.rglob("*.py")}
    files[f"embedfleet/metrics{sysconfig.get_config_var('EXT_SUFFIX')}"] = module
    listed = io.StringIO()
    for name, content in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        csv.writer(listed).writerow([name, f"sha256={digest}", len(content)])
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, changes.get(Path(name).stem.partition(".")[0], content))
        archive.writestr(f"{ABOUT}/RECORD", listed.getvalue())
    return wheel
