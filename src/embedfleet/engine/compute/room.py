"""Whether there is room for a model: of memory before its weights are read, of disk before they are packed."""

import logging
import os
from dataclasses import dataclass
from pathlib import Path

from embedfleet.errors import NoRoom
from embedfleet.system.cgroup import memories
from embedfleet.system.memory import MEMINFO, read_machine_memory

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Memory:
    """What a process may still take, in bytes.

    Attributes:
        left: at most, when everything that can be dropped is dropped.
        easy: of that, what can be had without taking it from others' caches; where it is less than asked, it may work.
        swap: of that, free swap space.
        limit: what sets the bound, in words.
    """

    left: int
    easy: int
    swap: int = 0
    limit: str = "this machine"


def read_memory(file: Path = MEMINFO) -> Memory | None:
    """Of this machine, swap space included; None where the kernel does not say.

    The bound is what neither programs nor files in memory (tmpfs) hold. MemAvailable is a guess that leaves out what
    some file systems would give back (ZFS), so that nothing may be refused by it.
    """
    found = read_machine_memory(file)
    if found is None:
        return None
    swap = found.swap_free_bytes
    return Memory(found.total_bytes - found.held_bytes + swap, found.available_bytes + swap, swap)


def read_memories() -> list[Memory]:
    """Of this machine, and of every control group over this process that has a limit; those that are known."""
    machine = read_memory()
    swap = machine.swap if machine else 0
    groups = [Memory(each.limit_bytes + swap, each.left_bytes, swap, each.source) for each in memories()]
    return [*([machine] if machine else []), *groups]


def require_memory(folder: Path, least: int, likely: int) -> None:
    """`check_memory` of what there is now; the first warning goes to the log.

    Raises:
        NoRoom: it cannot suffice.
    """
    warnings = [check_memory(folder, least, likely, memory) for memory in read_memories()]
    for warning in filter(None, warnings):
        log.warning("%s", warning)
        return


def check_memory(folder: Path, least: int, likely: int, memory: Memory) -> str:
    """See that a model can be loaded.

    Args:
        folder: of the model.
        least: bytes that its weights take at once, whatever else happens.
        likely: bytes that loading takes at its height.
        memory: that there is.

    Returns:
        A warning, that memory may not suffice; empty where it does.

    Raises:
        NoRoom: it cannot suffice.
    """
    if likely <= memory.easy:
        return ""
    has = f"{memory.limit} has {_words(min(memory.easy, memory.left))} left"
    if least > memory.left:
        raise NoRoom(
            f"{folder}: not enough memory: its weights take {_words(least)}, {has}",
            "free memory, raise the limit of the container or service, run fewer replicas, or serve a smaller model",
        )
    return f"{folder}: memory may not suffice: to load it takes up to about {_words(likely)}, {has}"


def check_disk(folder: Path, needed: int) -> None:
    """See that a folder's disk has room.

    Raises:
        OSError: it has not; the message says how much there is.
    """
    found = os.statvfs(folder)
    free = found.f_bavail * found.f_frsize
    if free < needed:
        raise OSError(f"{no_space(folder)}: about {_words(needed)} are needed, {_words(free)} are free")


def no_space(folder: Path) -> str:
    """What is wrong, in words."""
    return f"no space left on the disk of {folder}"


def _words(size: int) -> str:
    return f"{max(size, 0) / 1e6:.0f} MB"
