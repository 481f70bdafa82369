"""The heap's freed memory, which a process may return to the system."""

import ctypes
import logging

log = logging.getLogger(__name__)


def give_back() -> None:
    """Return freed memory to the system, as after the loading of a model or large requests.

    This works with glibc's allocator; with another one nothing happens.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):
        libc.malloc_trim(0)
        log.debug("returned freed memory to the system")
