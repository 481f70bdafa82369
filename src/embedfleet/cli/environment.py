"""The Python environment that run.sh made: a lock that keeps it while this process lives, and a lasting command to it.

run.sh installs a new version beside the old one, and removes old environments that no process has locked.
"""

import fcntl
import os
import sys
from contextlib import suppress
from pathlib import Path

_MARK = "made-by-run.sh"  # this file names the command that leads to the current environment


def keep_environment() -> None:
    """Lock the environment until this process ends, so that it can go on to import modules and start children."""
    with suppress(OSError):  # run.sh did not make this environment
        mark = os.open(Path(sys.prefix) / _MARK, os.O_RDONLY | os.O_CLOEXEC)
        fcntl.flock(mark, fcntl.LOCK_SH | fcntl.LOCK_NB)


def lasting_command() -> tuple[str, ...]:
    """Name a command that runs our verbs even after an update: run.sh's link to the current environment.

    Without run.sh it is this interpreter.
    """
    with suppress(OSError):
        if command := (Path(sys.prefix) / _MARK).read_text().strip():
            return (command,)
    return (sys.executable, "-P", "-m", "embedfleet")
