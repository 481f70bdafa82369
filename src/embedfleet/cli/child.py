"""What a process does that a supervisor started: end with it, and tell it the port."""

import ctypes
import json
import os
import signal
import sys
from collections.abc import Callable

_PR_SET_PDEATHSIG = 1  # prctl(2)


def end_with(parent: int) -> None:
    """Have the kernel kill this process when its parent ends, however it ends.

    Args:
        parent: its pid; 0 for a process that nobody supervises.
    """
    if parent == 0:
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before the call
        sys.exit(1)


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
