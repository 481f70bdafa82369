"""What the processor can do, as Linux tells it."""

from pathlib import Path

from embedfleet.errors import ModelError

_FILE = Path("/proc/cpuinfo")
# Of x86, VNNI and AMX; of ARM, the dot product and the matrix product of bytes.
_INT8 = ("amx_int8", "avx512_vnni", "avx_vnni", "i8mm", "asimddp")
# What else a processor of the last twenty years may have, to say what it is.
_VECTORS = ("avx512f", "avx2", "avx", "sse4_2", "asimd")


def read_cpu_flags() -> str:
    """The line of features, as it stands there; empty where it is not told."""
    if not _FILE.is_file():
        return ""
    lines = _FILE.read_text().splitlines()
    return next((line for line in lines if line.lower().startswith(("flags", "features"))), "")


def has_int8(flags: str) -> bool:
    """Whether products of bytes have instructions of their own.

    Args:
        flags: the processor's, as `read_cpu_flags` reads them.
    """
    return not frozenset(_INT8).isdisjoint(flags.split())


def require_int8(flags: str) -> None:
    """See that products of bytes are worth asking for.

    Args:
        flags: as of `has_int8`.

    Raises:
        ModelError: they have no instructions of their own.
    """
    if has_int8(flags):
        return
    has = next((name for name in _VECTORS if name in flags.split()), "none that is known")
    raise ModelError(
        f"precision int8 needs a processor with one of {', '.join(_INT8)}; of vector instructions this one has {has}",
        "set precision to auto or float32: without such instructions int8 is no faster, and no more exact",
    )
