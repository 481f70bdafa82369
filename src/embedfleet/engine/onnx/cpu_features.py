"""The processor's features, as Linux lists them, and the check that they make int8 worthwhile."""

from pathlib import Path

from embedfleet.errors import ModelError

_FILE = Path("/proc/cpuinfo")
# On x86 VNNI and AMX; on ARM the dot product and the matrix product of bytes.
_INT8 = ("amx_int8", "avx512_vnni", "avx_vnni", "i8mm", "asimddp")
# Older vector instructions, the widest first, to describe a processor without int8.
_VECTORS = ("avx512f", "avx2", "avx", "sse4_2", "asimd")


def read_cpu_flags() -> str:
    """The line of features in /proc/cpuinfo; empty if there is none."""
    if not _FILE.is_file():
        return ""
    lines = _FILE.read_text().splitlines()
    return next((line for line in lines if line.lower().startswith(("flags", "features"))), "")


def has_int8(flags: str) -> bool:
    """Whether the processor has instructions for products of bytes.

    Args:
        flags: Features of the processor, as `read_cpu_flags` returns them.
    """
    return not frozenset(_INT8).isdisjoint(flags.split())


def require_int8(flags: str) -> None:
    """Check that the processor has instructions for products of bytes.

    Args:
        flags: Features of the processor, as `read_cpu_flags` returns them.

    Raises:
        ModelError: The processor has none.
    """
    if has_int8(flags):
        return
    has = next((name for name in _VECTORS if name in flags.split()), "none known")
    raise ModelError(
        f"precision int8 needs a processor with one of {', '.join(_INT8)}; this one has {has}",
        "set precision to auto or float32: without such instructions int8 is no faster, and no more exact",
    )
