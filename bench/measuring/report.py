"""How benchmarks say what they saw: talk on stderr, one JSON object as the last line of stdout."""

import json
import platform
import sys
from pathlib import Path
from typing import Any


def say(text: str) -> None:
    """A line for the person."""
    print(text, file=sys.stderr, flush=True)


def report(**values: object) -> None:
    """The last line."""
    print(json.dumps(values | {"machine": machine()}), flush=True)


def machine() -> dict[str, Any]:
    """What the figures were taken on."""
    cpu = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.machine(),
    )
    cores = Path("/proc/cpuinfo").read_text().count("processor\t")
    return {"cpu": cpu, "cores": cores, "python": platform.python_version(), "system": platform.platform()}


def missing(what: str, hint: str) -> None:
    """End with exit code 2."""
    say(f"error: {what}\n\nhint: {hint}")
    raise SystemExit(2)
