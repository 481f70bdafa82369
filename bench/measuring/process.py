"""Processes of a benchmark, each pinned to one core."""

import asyncio
import os
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from http import HTTPStatus
from pathlib import Path

from embedfleet.errors import UpstreamError
from embedfleet.http.client import fetch

_START_S, _STOP_S = 60.0, 15.0
_NICE = -10  # above the machine's other work, where that is allowed
_AHEAD = ("nice", "-n", str(_NICE))


def take_core(core: int) -> None:
    """Pin this process as `pinned` pins others."""
    os.sched_setaffinity(0, {core})
    with suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, _NICE)


@contextmanager
def on_core(core: int) -> Iterator[None]:
    """Pin this process to one core until the end of the block."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def answers(url: str, process: "subprocess.Popen[bytes]", start_s: float) -> bool:
    """Whether a server answers with 200 before its process ends or the time is up."""
    deadline = time.monotonic() + start_s
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if asyncio.run(fetch(url, timeout_s=5)).status == HTTPStatus.OK:
                return True
        except UpstreamError:  # it does not listen yet
            time.sleep(0.02)
    return False


def end(process: "subprocess.Popen[bytes]") -> None:
    """End a process, by force if it does not end when told."""
    process.terminate()
    try:
        process.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


@contextmanager
def pinned(
    core: int, command: Sequence[str], *, log: Path | None = None, stdout: int | None = None
) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a process on one core until the end of the block.

    Args:
        core: Number of the core.
        command: Command and arguments.
        log: File for its stderr, which is dropped by default.
        stdout: Argument of `subprocess.Popen`.
    """
    with open(log or "/dev/null", "ab") as errors:  # noqa: PTH123 - None has no path
        process = subprocess.Popen(["taskset", "-c", str(core), *_AHEAD, *command], stdout=stdout, stderr=errors)
    try:
        yield process
    finally:
        end(process)
        if process.stdout is not None:
            process.stdout.close()


def wait_for_port(port: int, process: "subprocess.Popen[bytes]", log: Path) -> None:
    """Wait until a process listens on a port.

    Raises:
        RuntimeError: The process ended or does not listen after a minute; the message has the end of its log.
    """
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.02)
        else:
            return
    said = log.read_text(errors="replace")[-2000:] if log.exists() else ""
    raise RuntimeError(f"nothing listens on port {port}, exit code {process.poll()}:\n{said}")
