"""What a loaded engine keeps of the memory that loading took. Each in a process of its own."""

import subprocess
import sys

import pytest

LOAD = """
import re, sys
from embedfleet.engine.app import load
from embedfleet.engine.settings import EngineSettings
from embedfleet.metrics import TEI, Registry
engine = load(EngineSettings(packed_dir=sys.argv[1]), Registry(TEI))
print(re.search(r"Private_Dirty: +([0-9]+)", open("/proc/self/smaps_rollup").read())[1])
engine.close()
"""

HEAPS = """
import ctypes, sys, threading
from embedfleet.engine.heap import share_heaps
libc = ctypes.CDLL(None)
libc.malloc.restype = libc.fopen.restype = ctypes.c_void_p
libc.fopen.argtypes = [ctypes.c_char_p] * 2
libc.malloc_info.argtypes = [ctypes.c_int, ctypes.c_void_p]
libc.fclose.argtypes = [ctypes.c_void_p]
if int(sys.argv[2]):
    share_heaps(int(sys.argv[2]))
together = threading.Barrier(6)
def ask():
    together.wait()
    libc.malloc(100)
    together.wait()
threads = [threading.Thread(target=ask) for _ in range(6)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
file = libc.fopen(sys.argv[1].encode(), b"w")
libc.malloc_info(0, file)
libc.fclose(file)
print(open(sys.argv[1]).read().count("<heap nr"))
"""


def said(program, *arguments) -> int:
    command = [sys.executable, "-c", program, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def test_what_packing_took_is_given_back(tmp_path):
    """Packing takes the whole model's size once more, 66 MB and over."""
    first, second = (said(LOAD, tmp_path / "packed") for _ in range(2))
    assert first - second < 20_000  # kB


@pytest.mark.parametrize("most", [2, 3])
def test_threads_share_heaps(tmp_path, most):
    assert said(HEAPS, tmp_path / "info", 0) > 3
    assert said(HEAPS, tmp_path / "info", most) <= most
