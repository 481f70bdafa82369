"""Checks that memory suffices before a model is loaded, and disk space before its weights are packed."""

import logging
import os
from dataclasses import dataclass
from pathlib import Path

from embedfleet.errors import NoRoom
from embedfleet.system.cgroup import memories

log = logging.getLogger(__name__)

_MEMINFO = Path("/proc/meminfo")


@dataclass(frozen=True, slots=True)
class Memory:
    """Memory that a process may still use, in bytes.

    Attributes:
        left: Upper bound, reached if everything that can be dropped is dropped.
        available: Part of ``left`` that is free without evicting other programs' caches. More may still work.
        swap: Part of ``left`` that is free swap space.
        limit: Source of the bound, in words for a message.
    """

    left: int
    available: int
    swap: int = 0
    limit: str = "this machine"


def read_memory(file: Path = _MEMINFO) -> Memory | None:
    """Read the memory of this machine, swap space included; None if the kernel does not report it.

    The bound is all memory that neither programs nor files in memory (tmpfs) hold. MemAvailable is only an estimate: it
    omits memory that some file systems (ZFS) would give back, so it must not be a reason to refuse.
    """
    try:
        lines = (line.split() for line in file.read_text().splitlines())
        sizes = {words[0].rstrip(":"): int(words[1]) * 1024 for words in lines if len(words) == 3}
        swap = sizes["SwapFree"]
        held = sizes["AnonPages"] + sizes["Shmem"]
        return Memory(sizes["MemTotal"] - held + swap, sizes["MemAvailable"] + swap, swap)
    except (OSError, ValueError, KeyError):
        return None


def read_memories() -> list[Memory]:
    """Read the memory of this machine, and of every limited control group that contains this process."""
    machine = read_memory()
    swap = machine.swap if machine else 0
    groups = [Memory(each.limit_bytes + swap, each.left_bytes, swap, each.source) for each in memories()]
    return [*([machine] if machine else []), *groups]


def require_memory(folder: Path, least: int, likely: int) -> None:
    """Check the current memory with `check_memory`, and log the first warning.

    Args:
        folder: Folder of the model.
        least: Bytes that the weights need in any case.
        likely: Bytes that loading is likely to need at its peak.

    Raises:
        NoRoom: The memory cannot suffice.
    """
    warnings = [check_memory(folder, least, likely, memory) for memory in read_memories()]
    for warning in filter(None, warnings):
        log.warning("%s", warning)
        return


def check_memory(folder: Path, least: int, likely: int, memory: Memory) -> str:
    """Check that a model can be loaded.

    Args:
        folder: Folder of the model.
        least: Bytes that the weights need in any case.
        likely: Bytes that loading is likely to need at its peak.
        memory: Available memory.

    Returns:
        Warning that memory may not suffice; empty if it does.

    Raises:
        NoRoom: The memory cannot suffice.
    """
    if likely <= memory.available:
        return ""
    has = f"{memory.limit} has {_megabytes(min(memory.available, memory.left))} left"
    if least > memory.left:
        raise NoRoom(
            f"{folder}: not enough memory: its weights take {_megabytes(least)}, {has}",
            "free memory, raise the limit of the container or service, run fewer replicas, or serve a smaller model",
        )
    return f"{folder}: memory may not suffice: loading it takes up to about {_megabytes(likely)}, {has}"


def check_disk(folder: Path, needed: int) -> None:
    """Check that the disk of a folder has enough free space.

    Args:
        folder: Folder to write to.
        needed: Bytes needed.

    Raises:
        OSError: The space does not suffice; the message states how much is free.
    """
    found = os.statvfs(folder)
    free = found.f_bavail * found.f_frsize
    if free < needed:
        raise OSError(f"{no_space(folder)}: about {_megabytes(needed)} are needed, {_megabytes(free)} are free")


def no_space(folder: Path) -> str:
    """Message that the disk of a folder is full."""
    return f"no space left on the disk of {folder}"


def _megabytes(size: int) -> str:
    return f"{max(size, 0) / 1e6:.0f} MB"
