"""Load by wrk: as many requests as a server answers on a number of connections."""

import re
import subprocess
from pathlib import Path

LOAD_CORE = "1"


def load(port: int, connections: int, seconds: int, lua: Path) -> tuple[int, float]:
    """Number of requests answered with 200, and their median latency in microseconds."""
    wait, unit, requests = wrk(port, connections, seconds, lua, r"50%\s+([\d.]+)(us|ms|s)[\s\S]*?(\d+) requests in")
    return int(requests), float(wait) * {"us": 1.0, "ms": 1e3, "s": 1e6}[unit]


def wrk(port: int, connections: int, seconds: int, lua: Path, told: str) -> tuple[str, ...]:
    """Run wrk and extract figures from its output.

    Args:
        port: Port of the server.
        connections: Number of connections.
        seconds: Length of the run.
        lua: Script that makes the requests.
        told: Regular expression whose groups are returned.

    Raises:
        RuntimeError: Not all requests were answered with 200, or the figures are missing.
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
        raise RuntimeError(f"wrk reports errors, or its output has changed:\n{done.stdout}")
    return match.groups()
