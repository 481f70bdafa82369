"""Duties of a process that a supervisor starts: to end with the supervisor, and to report its port."""

import ctypes
import json
import os
import signal
import sys
from collections.abc import Callable

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36  # prctl(2)


def end_with(parent: int, *, gently: bool = False) -> None:
    """Make the kernel end this process when its parent ends for any reason; `execve` keeps the setting.

    Args:
        parent: Process id of the parent; 0 for a process without a supervisor.
        gently: Whether to use SIGTERM instead of SIGKILL, for a program that must end children of its own.
    """
    if parent == 0:
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM if gently else signal.SIGKILL)
    if os.getppid() != parent:  # the parent ended before the call
        sys.exit(1)


def adopt_orphans() -> None:
    """Make this process the new parent of orphaned descendants, so that it can find and end them."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)


def port_reporter(descriptor: int) -> Callable[[int], None]:
    """Make a function that reports to the supervisor the port on which this process listens.

    Args:
        descriptor: Descriptor of the pipe to the supervisor; 0 for none.
    """

    def report(port: int) -> None:
        if descriptor:
            os.write(descriptor, json.dumps({"port": port}).encode() + b"\n")
            os.close(descriptor)

    return report
