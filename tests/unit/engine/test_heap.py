"""What a loaded engine keeps of the memory that loading took. Each in a process of its own."""

import subprocess
import sys

LOAD = """
import re, sys
from embedfleet.engine.app import load
from embedfleet.engine.settings import EngineSettings
from embedfleet.metrics import TEI, Registry
engine = load(EngineSettings(packed_dir=sys.argv[1]), Registry(TEI))
print(re.search(r"Private_Dirty: +([0-9]+)", open("/proc/self/smaps_rollup").read())[1])
engine.close()
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
