"""Protection of the Python environment that run.sh made, and paths that stay valid after an update.

run.sh installs a new version beside the old one, and removes old environments that no process has locked.
"""

import fcntl
import os
import sys
from contextlib import suppress
from pathlib import Path

_MARK = "made-by-run.sh"  # this file names the command that leads to the current environment
_COMPILED_STAMP = "stamp"  # in a folder of compiled code, beside the package


def keep_environment() -> None:
    """Lock the environment until this process ends, because modules are imported and children started from it.

    The same holds for the folder of compiled code, if this process uses one.
    """
    for file in (Path(sys.prefix) / _MARK, Path(__file__).parent.parent.parent / _COMPILED_STAMP):
        with suppress(OSError):  # run.sh did not make it
            mark = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
            fcntl.flock(mark, fcntl.LOCK_SH | fcntl.LOCK_NB)


def installation() -> Path | None:
    """Return the folder of the run.sh that made this environment; None if none did."""
    with suppress(OSError):
        if command := (Path(sys.prefix) / _MARK).read_text().strip():
            return Path(command).parent.parent.parent
    return None


def lasting_command() -> tuple[str, ...]:
    """Return a command that runs our verbs even after an update: run.sh's link to the current environment.

    Without run.sh, the command is this interpreter with our module.
    """
    with suppress(OSError):
        if command := (Path(sys.prefix) / _MARK).read_text().strip():
            return (command,)
    return (sys.executable, "-P", "-m", "embedfleet")
