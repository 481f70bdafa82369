"""The environment that this process runs in, if run.sh made it, which removes those that nobody keeps."""

import fcntl
import os
import sys
from contextlib import suppress
from pathlib import Path

_MARK = "made-by-run.sh"  # names the command that leads to the environment in force


def keep_environment() -> None:
    """Have run.sh leave it until this process ends, however it ends: it loads from there, and starts its children."""
    with suppress(OSError):  # not one of its making
        mark = os.open(Path(sys.prefix) / _MARK, os.O_RDONLY | os.O_CLOEXEC)
        fcntl.flock(mark, fcntl.LOCK_SH | fcntl.LOCK_NB)


def lasting_command() -> tuple[str, ...]:
    """What takes our verbs by then: the command that leads to the environment in force, else this interpreter."""
    with suppress(OSError):
        if command := (Path(sys.prefix) / _MARK).read_text().strip():
            return (command,)
    return (sys.executable, "-P", "-m", "embedfleet")
