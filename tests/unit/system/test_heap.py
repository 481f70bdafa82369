"""Memory that an engine keeps after loading and after passes; each test measures a separate process."""

import subprocess
import sys

LOAD = """
import re, sys
from embedfleet.engine.engine import load
from embedfleet.engine.settings import EngineSettings
from embedfleet.metrics import TEI, Registry
engine = load(EngineSettings(packed_dir=sys.argv[1]), Registry(TEI))
print(re.search(r"Private_Dirty: +([0-9]+)", open("/proc/self/smaps_rollup").read())[1])
engine.close()
"""

# Prints the memory after passes, minus the memory when the engine logs that it has returned memory.
REST = """
import asyncio, logging, re, sys, threading
from embedfleet.engine.engine import load
from embedfleet.engine.settings import EngineSettings
from embedfleet.metrics import TEI, Registry
from tests.services.echo import sequence
def dirty():
    return int(re.search(r"Private_Dirty: +([0-9]+)", open("/proc/self/smaps_rollup").read())[1])
engine = load(EngineSettings(packed_dir=sys.argv[1]), Registry(TEI))
asyncio.run(engine.infer([sequence(*range(1000, 1000 + count)) for count in range(50, 250)]))
busy, rested = dirty(), threading.Event()
class Heard(logging.Handler):
    def emit(self, record):
        rested.set()
log = logging.getLogger("embedfleet.system.heap")
log.setLevel(logging.DEBUG)
log.addHandler(Heard())
rested.wait(60)
print(busy - dirty())
engine.close()
"""


def said(program, *arguments) -> int:
    command = [sys.executable, "-c", program, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def test_memory_of_packing_is_returned(tmp_path):
    """Packing takes at least the model's size once more, which is 66 MB."""
    first, second = (said(LOAD, tmp_path / "packed") for _ in range(2))
    assert first - second < 20_000  # kB


def test_an_idle_engine_returns_the_memory_of_its_passes(tmp_path):
    assert said(REST, tmp_path / "packed") >= 4_000  # kB
