"""The compiled gateway passes the gateway's own tests, where no Docker daemon can run.

Elsewhere `tests/e2e/docker/test_compiled.py` runs them in a container of the image, whose build compiles once for both.
"""

import shutil
import sysconfig
from pathlib import Path

import pytest

from tests.services.compiled import SUITE, check_modules, python
from tests.services.docker.daemon import why_not

HEADER = Path(sysconfig.get_path("include"), "Python.h")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not why_not(), reason="the tests of the image run the gateway's tests compiled"),
    pytest.mark.skipif(
        shutil.which("cc") is None or not HEADER.exists(),
        reason="there is no C compiler, or Python's headers are missing",
    ),
]


def test_the_compiled_gateway_passes_the_gateways_tests(tmp_path):
    """The gateway's tests pass and a wheel carries the modules, in one test because the compiler takes a minute."""
    compiled = tmp_path / "compiled"
    # At level 0 the C code is compiled with its assertions, which are checked too.
    python("-m", "scripts.compile", str(compiled), "--level", "0")
    check_modules(compiled, tmp_path)
    assert "passed" in python("-m", "pytest", *SUITE, path=compiled).splitlines()[-1]
