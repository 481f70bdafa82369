"""How much of the heap a process keeps."""

import ctypes
import logging

log = logging.getLogger(__name__)


def give_back() -> None:
    """Return to the system what was freed: what it took to load and pack a model, what clients left behind.

    By glibc's allocator; with another one nothing is done.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):
        libc.malloc_trim(0)
        log.debug("what was freed is given back")
