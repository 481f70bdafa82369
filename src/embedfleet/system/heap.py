"""Return of the heap's freed memory to the system."""

import ctypes
import logging

log = logging.getLogger(__name__)


def give_back() -> None:
    """Return freed memory to the system, for example after a model was loaded or large requests were served.

    This works only with glibc's allocator; with another one, nothing happens.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):
        libc.malloc_trim(0)
        log.debug("returned freed memory to the system")
