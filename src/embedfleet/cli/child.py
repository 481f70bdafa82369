"""What a process does that a supervisor started: end with it, and tell it the port."""

import ctypes
import json
import os
import signal
import sys
from collections.abc import Callable

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36  # prctl(2)


def end_with(parent: int, *, gently: bool = False) -> None:
    """Have the kernel end this process, or what it becomes, when its parent ends, however that ends.

    Args:
        parent: its pid; 0 for a process that nobody supervises.
        gently: with SIGTERM, for a program that has children of its own to end.
    """
    if parent == 0:
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM if gently else signal.SIGKILL)
    if os.getppid() != parent:  # it ended before the call
        sys.exit(1)


def adopt_orphans() -> None:
    """Have processes below this one become its children when their parent ends: else nobody could find them."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)


def port_teller(descriptor: int) -> Callable[[int], None]:
    """A function that tells the supervisor which port we listen on.

    Args:
        descriptor: of the pipe to it; 0 for none.
    """

    def tell(port: int) -> None:
        if descriptor:
            os.write(descriptor, json.dumps({"port": port}).encode() + b"\n")
            os.close(descriptor)

    return tell
