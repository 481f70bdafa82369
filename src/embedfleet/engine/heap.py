"""How much of the heap a process keeps; of glibc's allocator alone, where there is another nothing is done."""

import ctypes

_M_ARENA_MAX = -8  # mallopt(3)


def share_heaps(most: int) -> None:
    """Have threads share so many heaps; else each begins one of its own, and keeps there what it has freed."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(_M_ARENA_MAX, most)


def give_back() -> None:
    """Return to the system what was freed: to load a model, and above all to pack it, takes more than to serve it."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):
        libc.malloc_trim(0)
