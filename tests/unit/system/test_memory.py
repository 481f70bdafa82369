"""The machine's memory is read from /proc/meminfo, or is unknown if the kernel does not report all of it."""

import pytest

from embedfleet.system.memory import MachineMemory, read_machine_memory

MEMINFO = """MemTotal:       24000000 kB
MemAvailable:   8000000 kB
SwapFree:       2000000 kB
AnonPages:     12000000 kB
Shmem:          1000000 kB
HugePages_Total:       0
"""
KB = 1024


def test_sizes_are_bytes(tmp_path):
    (tmp_path / "meminfo").write_text(MEMINFO)
    expected = MachineMemory(24_000_000 * KB, 8_000_000 * KB, 13_000_000 * KB, 2_000_000 * KB)
    assert read_machine_memory(tmp_path / "meminfo") == expected


@pytest.mark.parametrize("missing", ["MemTotal", "MemAvailable", "SwapFree", "AnonPages", "Shmem"])
def test_memory_is_unknown_if_a_line_is_missing(tmp_path, missing):
    lines = [line for line in MEMINFO.splitlines() if not line.startswith(missing)]
    (tmp_path / "meminfo").write_text("\n".join(lines))
    assert read_machine_memory(tmp_path / "meminfo") is None
    assert read_machine_memory(tmp_path / "no file") is None


def test_this_machine_has_memory():
    found = read_machine_memory()
    assert found is not None
    assert 0 < found.available_bytes <= found.total_bytes
