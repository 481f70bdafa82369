"""Output of benchmarks: messages on stderr, one JSON object as the last line of stdout."""

import json
import platform
import sys
from pathlib import Path
from typing import Any, NoReturn


def say(text: str) -> None:
    """Print a message for people."""
    print(text, file=sys.stderr, flush=True)


def report(**values: object) -> None:
    """Print the JSON object with all values."""
    print(json.dumps(values | {"machine": machine()}), flush=True)


def machine() -> dict[str, Any]:
    """The machine on which the figures were measured."""
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


def missing(what: str, hint: str) -> NoReturn:
    """Exit with code 2 because something is missing."""
    say(f"error: {what}\n\nhint: {hint}")
    raise SystemExit(2)
