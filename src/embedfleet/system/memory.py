"""The machine's memory as the kernel reports it in ``/proc/meminfo`` (proc(5))."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

MEMINFO: Final = Path("/proc/meminfo")


@dataclass(frozen=True, slots=True)
class MachineMemory:
    """The memory of the machine, in bytes.

    Attributes:
        total_bytes: All memory, without swap space.
        available_bytes: The kernel's estimate of the memory that is available without swapping.
        held_bytes: Memory of programs and of files in memory (tmpfs), which the kernel cannot drop.
        swap_free_bytes: Free swap space.
    """

    total_bytes: int
    available_bytes: int
    held_bytes: int
    swap_free_bytes: int


def read_machine_memory(file: Path = MEMINFO) -> MachineMemory | None:
    """Read the memory of the machine; None if the kernel does not report it."""
    try:
        lines = (line.split() for line in file.read_text().splitlines())
        sizes = {words[0].rstrip(":"): int(words[1]) * 1024 for words in lines if len(words) == 3}
        return MachineMemory(
            sizes["MemTotal"], sizes["MemAvailable"], sizes["AnonPages"] + sizes["Shmem"], sizes["SwapFree"]
        )
    except (OSError, ValueError, KeyError):
        return None
