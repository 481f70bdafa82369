"""wrk: as many requests as a server answers, on so many connections."""

import re
import subprocess
from pathlib import Path

LOAD_CORE = "1"


def load(port: int, connections: int, seconds: int, lua: Path) -> tuple[int, float]:
    """Requests that wrk had answered 200 in that time, and the median wait in microseconds."""
    wait, unit, requests = wrk(port, connections, seconds, lua, r"50%\s+([\d.]+)(us|ms|s)[\s\S]*?(\d+) requests in")
    return int(requests), float(wait) * {"us": 1.0, "ms": 1e3, "s": 1e6}[unit]


def wrk(port: int, connections: int, seconds: int, lua: Path, told: str) -> tuple[str, ...]:
    """What wrk tells, by a pattern, after requests that were all answered 200.

    Raises:
        RuntimeError: they were not.
    """
    command = [
        "taskset",
        "-c",
        LOAD_CORE,
        "wrk",
        "-t1",
        f"-c{connections}",
        f"-d{seconds}s",
        "-s",
        str(lua),
        "--latency",
    ]
    done = subprocess.run([*command, f"http://127.0.0.1:{port}/embed"], capture_output=True, text=True, check=True)
    match = re.search(told, done.stdout)
    if match is None or "Non-2xx" in done.stdout or "Socket errors" in done.stdout:
        raise RuntimeError(f"the load did not go well:\n{done.stdout}")
    return match.groups()
