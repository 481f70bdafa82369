"""Duties of a process that a supervisor started: it ends with the supervisor, and reports its port."""

import ctypes
import json
import os
import signal
import sys
from collections.abc import Callable

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36  # prctl(2)


def end_with(parent: int, *, gently: bool = False) -> None:
    """Have the kernel end this process when its parent ends, however that ends; `execve` keeps this.

    Args:
        parent: Process id of the parent; 0 for a process that nobody supervises.
        gently: Whether to use SIGTERM, for a program that must end children of its own.
    """
    if parent == 0:
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM if gently else signal.SIGKILL)
    if os.getppid() != parent:  # it ended before the call
        sys.exit(1)


def adopt_orphans() -> None:
    """Make this process the parent of descendants whose parent ends; otherwise nobody could find them."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)


def port_teller(descriptor: int) -> Callable[[int], None]:
    """Make a function that tells the supervisor the port where this process listens.

    Args:
        descriptor: Descriptor of the pipe to the supervisor; 0 for none.
    """

    def tell(port: int) -> None:
        if descriptor:
            os.write(descriptor, json.dumps({"port": port}).encode() + b"\n")
            os.close(descriptor)

    return tell
